//! What server-side apply goes by: the types of a structural schema.

use std::sync::Arc;

use super::{Additional, Kind, ListType, Structural};
use crate::gvk::GroupVersionKind;
use crate::schema::{Builder, Field, FieldExtra, ListKind, Scalar, Schema, Struct, Type, TypeId};

/// The schema of a kind of which a definition says `structural`.
pub fn schema(kind: &GroupVersionKind, structural: Arc<Structural>) -> Schema {
    let count = 1 + structs(&structural);
    let mut writer = Writer { builder: Builder::with_structs(count), next: 1 };
    let mut fields = writer.fields(&structural, structural.preserve_unknown);
    writer.whole(&mut fields);
    let root = Struct {
        preserve_unknown: structural.preserve_unknown || structural.properties.is_empty(),
        kinds: vec![kind.clone()],
        fields,
        ..Struct::default()
    };
    writer.builder.define(0, root);
    writer.builder.schema(0).custom(structural)
}

/// How many structs the parts of a schema make at most.
fn structs(schema: &Structural) -> u32 {
    let inner = schema.properties.iter().map(|(_, property)| 1 + structs(property));
    let others = schema.additional().into_iter().chain(schema.items.as_deref());
    inner.chain(others.map(|other| 1 + structs(other))).sum()
}

struct Writer {
    builder: Builder,
    /// The struct that is declared and not yet defined.
    next: u32,
}

impl Writer {
    /// `preserve`: an object around it keeps fields that are not specified, and so does what is in it.
    fn fields(&mut self, schema: &Structural, preserve: bool) -> Vec<Field> {
        let properties = schema.properties.iter();
        properties
            .map(|(name, property)| Field {
                name: name.to_string().into(),
                ty: self.of(property, preserve),
                required: false,
                nullable: property.nullable,
                extra: property.default.as_ref().map(|default| {
                    Box::new(FieldExtra { default: Some((**default).clone()), ..FieldExtra::default() })
                }),
            })
            .collect()
    }

    /// Adds what every whole object has.
    fn whole(&mut self, fields: &mut Vec<Field>) {
        fields.retain(|field| !super::decode::META.contains(&field.name.as_ref()));
        let text = self.builder.add(Type::Scalar(Scalar::String));
        let metadata = self.builder.object_meta();
        for (name, ty) in [("apiVersion", text), ("kind", text), ("metadata", metadata)] {
            fields.push(Field { name: name.into(), ty, required: false, nullable: false, extra: None });
        }
    }

    fn of(&mut self, schema: &Structural, preserve: bool) -> TypeId {
        let preserve = preserve || schema.preserve_unknown;
        if schema.int_or_string {
            return self.builder.add(Type::Scalar(Scalar::IntOrString));
        }
        match schema.kind {
            Kind::Any => self.builder.add(Type::Deduced),
            Kind::Boolean => self.builder.add(Type::Scalar(Scalar::Boolean)),
            Kind::Integer => self.builder.add(Type::Scalar(Scalar::Int64)),
            Kind::Number => self.builder.add(Type::Scalar(Scalar::Number)),
            Kind::String => self.builder.add(Type::Scalar(Scalar::String)),
            Kind::Array => {
                let items = match &schema.items {
                    Some(items) => self.of(items, preserve),
                    None => self.builder.add(Type::Deduced),
                };
                let kind = match &schema.list {
                    ListType::Atomic => ListKind::Atomic,
                    ListType::Set => ListKind::Set,
                    ListType::Map(keys) => {
                        ListKind::Map(keys.iter().map(|key| key.to_string().into()).collect())
                    }
                };
                self.builder.add(Type::List { items, kind })
            }
            Kind::Object => self.object(schema, preserve),
        }
    }

    fn object(&mut self, schema: &Structural, preserve: bool) -> TypeId {
        let has_fields = !schema.properties.is_empty() || schema.embedded;
        if !has_fields {
            let values = match &schema.additional {
                Additional::Of(values) => self.of(values, preserve),
                Additional::Unsaid | Additional::Allowed(_) => self.builder.add(Type::Deduced),
            };
            return self.builder.add(Type::Map { values, atomic: schema.atomic });
        }
        let mut fields = self.fields(schema, preserve);
        if schema.embedded {
            self.whole(&mut fields);
        }
        let index = self.next;
        self.next += 1;
        let definition = Struct {
            preserve_unknown: preserve || schema.properties.is_empty(),
            atomic: schema.atomic,
            fields,
            ..Struct::default()
        };
        self.builder.define(index, definition);
        self.builder.struct_type(index)
    }
}

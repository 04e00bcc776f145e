//! Types as JSON schemas, with what Kubernetes adds: kinds, list types and keys, patch strategies.

use std::collections::BTreeSet;

use model::GroupVersionKind;
use model::schema::{self, Field, ListKind, Raw, Scalar, Struct, Type, TypeRef};
use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use super::{Entry, Form};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const FIELDS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
/// What a patch is, of whatever kind.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";
/// What every failure answers with.
pub(super) const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// All schemas that the entries use, by name.
pub(super) fn of(entries: &[&Entry], form: Form) -> Map<String, Value> {
    let below = entries.iter().flat_map(|entry| &entry.subresources);
    let described = entries.iter().filter_map(|entry| entry.description);
    let described = described.chain(below.filter_map(|subresource| subresource.description));
    let mut writer = Writer {
        form,
        descriptions: Descriptions::of(described),
        schemas: Map::new(),
        seen: BTreeSet::new(),
    };
    for name in ["DeleteOptions", "Status", "ListMeta"] {
        if let Some(definition) = schema::builtin_definitions().by_name(&format!("{META}.{name}")) {
            writer.builtin(definition);
        }
    }
    for entry in entries {
        match (&entry.documented, &entry.schema) {
            (Some(documented), _) => {
                for name in ["ObjectMeta", "OwnerReference", "ManagedFieldsEntry"] {
                    if let Some(definition) = schema::builtin_definitions().by_name(&format!("{META}.{name}"))
                    {
                        writer.builtin(definition);
                    }
                }
                writer.schemas.insert(name_of(&entry.kind), documented.schema(form));
            }
            (None, Some(schema)) => writer.kind(&entry.kind, schema.root()),
            (None, None) => writer.untyped(&entry.kind),
        }
        writer.list(&entry.kind, &entry.list_kind);
        for kind in entry.subresources.iter().filter_map(|subresource| subresource.kind.as_ref()) {
            if let Some(schema) = schema::builtin(kind) {
                writer.kind(kind, schema.root());
            }
        }
    }
    for (name, schema) in scalars(form) {
        let schema = writer.described(schema, name);
        writer.schemas.insert(name.to_owned(), schema);
    }
    writer.schemas.sort_keys();
    writer.schemas
}

/// The name of a kind's schema: that of its definition, or one made from its group for custom kinds.
pub(super) fn name_of(kind: &GroupVersionKind) -> String {
    if let Some(schema) = schema::builtin(kind)
        && let Some(structure) = schema.root().structure()
    {
        return structure.name.to_string();
    }
    let mut group: Vec<&str> = kind.group.split('.').collect();
    group.reverse();
    format!("{}.{}.{}", group.join("."), kind.version, kind.kind)
}

/// A reference to a schema.
pub(super) fn reference(name: &str, form: Form) -> Value {
    let prefix = match form {
        Form::V2 => "#/definitions/",
        Form::V3 => "#/components/schemas/",
    };
    json!({ "$ref": format!("{prefix}{name}") })
}

struct Writer {
    form: Form,
    descriptions: Descriptions,
    schemas: Map<String, Value>,
    seen: BTreeSet<String>,
}

impl Writer {
    fn kind(&mut self, kind: &GroupVersionKind, root: TypeRef<'_>) {
        self.structure(&name_of(kind), root);
    }

    fn untyped(&mut self, kind: &GroupVersionKind) {
        let schema = json!({
            "type": "object",
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-group-version-kind": [kind_json(kind)],
        });
        self.schemas.insert(name_of(kind), schema);
    }

    fn list(&mut self, kind: &GroupVersionKind, list_kind: &str) {
        let list = GroupVersionKind::new(&kind.group, &kind.version, list_kind);
        let text = || json!({"type": "string"});
        let schema = json!({
            "description": format!("{} is a list of {}.", list.kind, kind.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": text(),
                "items": {"type": "array", "items": reference(&name_of(kind), self.form)},
                "kind": text(),
                "metadata": reference(&format!("{META}.ListMeta"), self.form),
            },
            "x-kubernetes-group-version-kind": [kind_json(&list)],
        });
        self.schemas.insert(name_of(&list), schema);
    }

    fn builtin(&mut self, definition: &Struct) {
        let definitions = schema::builtin_definitions();
        if let Some(ty) = definitions.type_of(&definition.name) {
            self.structure(&definition.name, ty);
        }
    }

    fn structure(&mut self, name: &str, ty: TypeRef<'_>) {
        let Some(structure) = ty.structure() else { return };
        if !self.seen.insert(name.to_owned()) {
            return;
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in &structure.fields {
            properties.insert(field.name.to_string(), self.field(name, field, ty.of(field.ty)));
            if field.required {
                required.push(field.name.to_string());
            }
        }
        let mut schema = Map::new();
        schema.insert("type".into(), "object".into());
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        if !properties.is_empty() {
            schema.insert("properties".into(), properties.into());
        }
        if structure.preserve_unknown {
            schema.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
        if !structure.kinds.is_empty() {
            let kinds: Vec<Value> = structure.kinds.iter().map(kind_json).collect();
            schema.insert("x-kubernetes-group-version-kind".into(), kinds.into());
        }
        if structure.atomic {
            schema.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        let schema = self.described(schema.into(), name);
        self.schemas.insert(name.to_owned(), schema);
    }

    fn field(&mut self, owner: &str, field: &Field, ty: TypeRef<'_>) -> Value {
        let mut schema = match self.value(ty) {
            // Beside a reference nothing else counts, so it is wrapped to be described.
            Value::Object(schema) if schema.contains_key("$ref") && self.form == Form::V3 => {
                Map::from_iter([("allOf".to_owned(), json!([schema]))])
            }
            Value::Object(schema) => schema,
            _ => Map::new(),
        };
        if let Some(description) = self.descriptions.of_field(owner, &field.name) {
            schema.insert("description".into(), description.into());
        }
        if let Some(default) = field.default() {
            schema.insert("default".into(), default.clone());
        }
        // Version 2 has no such word.
        if field.nullable && self.form == Form::V3 {
            schema.insert("nullable".into(), true.into());
        }
        let patch = field.patch();
        let strategies =
            [(patch.merge, "merge"), (patch.retain_keys, "retainKeys"), (patch.replace, "replace")];
        let strategies: Vec<&str> = strategies.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        if !strategies.is_empty() {
            schema.insert("x-kubernetes-patch-strategy".into(), strategies.join(",").into());
        }
        if let Some(key) = &patch.key {
            schema.insert("x-kubernetes-patch-merge-key".into(), key.as_ref().into());
        }
        schema.into()
    }

    fn value(&mut self, ty: TypeRef<'_>) -> Value {
        match ty.get() {
            Type::Any | Type::Deduced | Type::Elsewhere(_) => json!({}),
            Type::Raw(Raw::Extension) => reference(RAW, self.form),
            Type::Raw(Raw::Fields) => reference(FIELDS, self.form),
            Type::Scalar(scalar) => self.scalar(*scalar),
            Type::Struct { .. } => {
                let name = ty.structure().map(|structure| structure.name.to_string()).unwrap_or_default();
                if name.is_empty() {
                    return self.inline(ty);
                }
                self.structure(&name, ty);
                reference(&name, self.form)
            }
            Type::Map { atomic, .. } => {
                let values = ty.element().map(|values| self.value(values)).unwrap_or_default();
                let mut schema = json!({"type": "object", "additionalProperties": values});
                if *atomic {
                    schema["x-kubernetes-map-type"] = "atomic".into();
                }
                schema
            }
            Type::List { kind, .. } => {
                let items = ty.element().map(|items| self.value(items)).unwrap_or_default();
                let mut schema = json!({"type": "array", "items": items});
                match kind {
                    ListKind::Atomic => schema["x-kubernetes-list-type"] = "atomic".into(),
                    ListKind::Set => schema["x-kubernetes-list-type"] = "set".into(),
                    ListKind::Map(keys) => {
                        schema["x-kubernetes-list-type"] = "map".into();
                        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
                        schema["x-kubernetes-list-map-keys"] = keys.into();
                    }
                }
                schema
            }
        }
    }

    /// A nameless type of a custom kind, written where it stands.
    fn inline(&mut self, ty: TypeRef<'_>) -> Value {
        let Some(structure) = ty.structure() else { return json!({}) };
        let mut properties = Map::new();
        for field in &structure.fields {
            properties.insert(field.name.to_string(), self.field("", field, ty.of(field.ty)));
        }
        let required: Vec<&str> =
            structure.fields.iter().filter(|field| field.required).map(|field| field.name.as_ref()).collect();
        let mut schema = json!({"type": "object", "properties": properties});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if structure.preserve_unknown {
            schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        }
        schema
    }

    fn scalar(&self, scalar: Scalar) -> Value {
        match scalar {
            Scalar::String => json!({"type": "string"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
            Scalar::Number => json!({"type": "number", "format": "double"}),
            Scalar::Boolean => json!({"type": "boolean"}),
            Scalar::Time => reference(TIME, self.form),
            Scalar::MicroTime => reference(MICRO_TIME, self.form),
            Scalar::IntOrString => reference(INT_OR_STRING, self.form),
            Scalar::Quantity => reference(QUANTITY, self.form),
        }
    }

    fn described(&self, schema: Value, name: &str) -> Value {
        match (schema, self.descriptions.of_type(name)) {
            (Value::Object(mut schema), Some(description)) => {
                schema.shift_insert(0, "description".into(), description.into());
                schema.into()
            }
            (schema, _) => schema,
        }
    }
}

fn scalars(form: Form) -> [(&'static str, Value); 7] {
    let (int_or_string, quantity) = match form {
        Form::V2 => (json!({"type": "string", "format": "int-or-string"}), json!({"type": "string"})),
        Form::V3 => (
            json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        ),
    };
    let moment = || json!({"type": "string", "format": "date-time"});
    let object = || json!({"type": "object"});
    [
        (TIME, moment()),
        (MICRO_TIME, moment()),
        (FIELDS, object()),
        (RAW, object()),
        (PATCH, object()),
        (QUANTITY, quantity),
        (INT_OR_STRING, int_or_string),
    ]
}

fn kind_json(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "kind": kind.kind, "version": kind.version})
}

//! Objects in Kubernetes' protobuf form, made of their JSON form by the tables that read it.
//!
//! Fields are written in the order of their numbers. What is not of its type is left out: it is no value that
//! a kind with this form could have.

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::schema::{Raw, Scalar, Type, TypeRef};
use model::{GroupVersionKind, Schema};
use serde_json::{Map, Value};

use super::write::Message;
use super::{DEPTH, Either, MAGIC, TABLE, Target, name_of, target};

/// The fields of each message, in the order of their numbers.
static FIELDS: LazyLock<HashMap<&'static str, Vec<(u64, Target)>>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            let mut fields: Vec<(u64, Target)> = words.filter_map(target).collect();
            fields.sort_by_key(|(number, _)| *number);
            (name, fields)
        })
        .collect()
});

/// The numbers of a list's fields.
const LIST_METADATA: u32 = 1;
const LIST_ITEMS: u32 = 2;

/// An object of a built-in kind, or of those that belong to all groups, as a body of its own; none where its
/// kind has no such form.
pub(crate) fn document(object: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let message = if kind == "PartialObjectMetadata" {
        metadata(object)
    } else {
        message(&model::schema::builtin(&GroupVersionKind::new(group, version, kind))?, object)
    };
    Some(envelope(api_version, kind, &message))
}

/// An object of the kind of a schema, as an item of a list has it.
pub(crate) fn message(schema: &Schema, object: &Value) -> Vec<u8> {
    let mut out = Message::default();
    if let (Some(name), Some(fields)) = (name_of(schema.root()), object.as_object()) {
        write_struct(schema.root(), &name, fields, &mut out, 0);
    }
    out.into_bytes()
}

/// An object with nothing but its metadata, as an item of a list has it.
pub(crate) fn metadata(object: &Value) -> Vec<u8> {
    // The metadata of any kind has this type.
    let schema = model::schema::builtin(&GroupVersionKind::new("", "v1", "Namespace"));
    let mut out = Message::default();
    let Some(ty) = schema.as_ref().and_then(|schema| schema.root().child("metadata")) else {
        return Vec::new();
    };
    if let Some(metadata) = object.get("metadata") {
        write_value(ty, metadata, 1, &mut out, 0);
    }
    out.into_bytes()
}

/// A message with what it is, as a body begins with it.
pub(crate) fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = head(api_version, kind, message.len());
    out.extend_from_slice(message);
    out.extend_from_slice(TAIL);
    out
}

/// What comes before a message of this length.
pub(crate) fn head(api_version: &str, kind: &str, length: usize) -> Vec<u8> {
    let mut out = Message::begun(MAGIC);
    out.message(1, |meta| {
        meta.bytes(1, api_version.as_bytes());
        meta.bytes(2, kind.as_bytes());
    });
    out.prefix(2, length);
    out.into_bytes()
}

/// What comes after it: neither an encoding nor a type of the content.
pub(crate) const TAIL: &[u8] = &[0x1a, 0, 0x22, 0];

/// The metadata of a list, as its message begins with it.
pub(crate) fn list_metadata(revision: u64, continue_token: &str, remaining: Option<usize>) -> Vec<u8> {
    let mut out = Message::default();
    out.message(LIST_METADATA, |metadata| {
        metadata.text(2, &revision.to_string());
        metadata.text(3, continue_token);
        if let Some(remaining) = remaining {
            metadata.number(4, remaining as u64);
        }
    });
    out.into_bytes()
}

/// An item of a list, with its tag.
pub(crate) fn list_item(message: &[u8]) -> Vec<u8> {
    let mut out = Message::default();
    out.bytes(LIST_ITEMS, message);
    out.into_bytes()
}

/// An event of a watch, with its length before it: four bytes, the highest first.
pub(crate) fn frame(out: &mut bytes::BytesMut, kind: &str, document: &[u8]) {
    let mut event = Message::default();
    event.bytes(1, kind.as_bytes());
    event.message(2, |object| object.bytes(1, document));
    let event = event.into_bytes();
    out.extend_from_slice(&u32::try_from(event.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&event);
}

fn write_struct(
    ty: TypeRef<'_>,
    message: &str,
    fields: &Map<String, Value>,
    out: &mut Message,
    depth: usize,
) {
    if depth > DEPTH {
        return;
    }
    for (number, target) in FIELDS.get(message).into_iter().flatten() {
        let number = u32::try_from(*number).unwrap_or_default();
        match target {
            Target::Inline(inline) => {
                let mut inner = Message::default();
                write_struct(ty, inline, fields, &mut inner, depth + 1);
                let inner = inner.into_bytes();
                if !inner.is_empty() {
                    out.bytes(number, &inner);
                }
            }
            Target::Field { name, either, .. } => {
                let value = fields.get(*name).filter(|value| !value.is_null());
                let (Some(value), Some(child)) = (value, ty.child(name)) else { continue };
                match (either, child.get(), value) {
                    (None, ..) => write_field(child, value, number, out, depth + 1),
                    (Some(either), Type::Map { .. }, Value::Object(entries)) => {
                        for (key, value) in entries {
                            out.message(number, |entry| {
                                entry.bytes(1, key.as_bytes());
                                write_either(ty, *either, value, 2, entry, depth + 1);
                            });
                        }
                    }
                    (Some(either), ..) => write_either(ty, *either, value, number, out, depth + 1),
                }
            }
        }
    }
}

/// A schema, or what stands in the place of one.
fn write_either(
    schema: TypeRef<'_>,
    either: Either,
    value: &Value,
    number: u32,
    out: &mut Message,
    depth: usize,
) {
    out.message(number, |inner| match (either, value) {
        (Either::Bool, Value::Bool(allows)) => inner.number(1, u64::from(*allows)),
        (Either::Bool, value) => {
            inner.number(1, 1);
            write_value(schema, value, 2, inner, depth + 1);
        }
        (Either::List, Value::Array(items)) => {
            items.iter().for_each(|item| write_value(schema, item, 2, inner, depth + 1));
        }
        (Either::Texts, Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).for_each(|text| inner.bytes(2, text.as_bytes()));
        }
        (_, value) => write_value(schema, value, 1, inner, depth + 1),
    });
}

fn write_field(ty: TypeRef<'_>, value: &Value, number: u32, out: &mut Message, depth: usize) {
    match (ty.get(), value) {
        (Type::List { .. }, Value::Array(items)) => {
            let Some(element) = ty.element() else { return };
            for item in items {
                write_value(element, item, number, out, depth);
            }
        }
        (Type::Map { .. }, Value::Object(entries)) => {
            let Some(element) = ty.element() else { return };
            for (key, value) in entries {
                out.message(number, |entry| {
                    entry.bytes(1, key.as_bytes());
                    write_value(element, value, 2, entry, depth + 1);
                });
            }
        }
        (Type::List { .. } | Type::Map { .. }, _) => {}
        _ => write_value(ty, value, number, out, depth),
    }
}

fn write_value(ty: TypeRef<'_>, value: &Value, number: u32, out: &mut Message, depth: usize) {
    if depth > DEPTH {
        return;
    }
    match (ty.get(), value) {
        (Type::Scalar(scalar), value) => write_scalar(*scalar, value, number, out),
        (Type::Struct { .. }, Value::Object(fields)) => {
            let Some(name) = name_of(ty) else { return };
            out.message(number, |inner| write_struct(ty, &name, fields, inner, depth));
        }
        (Type::Struct { .. }, Value::Null) => out.bytes(number, &[]),
        // A list as a value of its own is wrapped in a message.
        (Type::List { .. }, Value::Array(items)) => {
            let Some(element) = ty.element() else { return };
            out.message(number, |inner| {
                for item in items {
                    write_value(element, item, 1, inner, depth + 1);
                }
            });
        }
        (Type::Any | Type::Deduced | Type::Elsewhere(_) | Type::Raw(Raw::Extension | Raw::Fields), value) => {
            out.message(number, |inner| inner.bytes(1, value.to_string().as_bytes()));
        }
        _ => {}
    }
}

fn write_scalar(scalar: Scalar, value: &Value, number: u32, out: &mut Message) {
    match (scalar, value) {
        (Scalar::String, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Scalar::Bytes, Value::String(text)) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                out.bytes(number, &bytes);
            }
        }
        (Scalar::Int32 | Scalar::Int64, Value::Number(value)) => {
            let whole = value.as_i64().or_else(|| value.as_f64().map(|value| value as i64));
            out.number(number, whole.unwrap_or_default().cast_unsigned());
        }
        (Scalar::Boolean, Value::Bool(value)) => out.number(number, u64::from(*value)),
        (Scalar::Number, Value::Number(value)) => {
            out.double(number, value.as_f64().unwrap_or_default());
        }
        (Scalar::Quantity, Value::String(text)) => {
            out.message(number, |inner| inner.bytes(1, text.as_bytes()));
        }
        (Scalar::Quantity, Value::Number(value)) => {
            out.message(number, |inner| inner.bytes(1, value.to_string().as_bytes()));
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            if let Some(at) = model::time::parse(text) {
                out.message(number, |inner| {
                    inner.number(1, at.as_second().cast_unsigned());
                    inner.number(2, i64::from(at.subsec_nanosecond()).cast_unsigned());
                });
            }
        }
        (Scalar::IntOrString, Value::String(text)) => out.message(number, |inner| {
            inner.number(1, 1);
            inner.number(2, 0);
            inner.bytes(3, text.as_bytes());
        }),
        (Scalar::IntOrString, Value::Number(value)) => out.message(number, |inner| {
            inner.number(1, 0);
            inner.number(2, value.as_i64().unwrap_or_default().cast_unsigned());
            inner.bytes(3, b"");
        }),
        _ => {}
    }
}

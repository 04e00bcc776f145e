//! Kubernetes' protobuf form of built-in kinds, in which typed clients send bodies, and ask for answers.
//!
//! Types come from the schema of [`model::schema`]; here is only what it lacks, the fields' numbers, in
//! a table that `cargo xtask codegen protobuf` makes. One line a type, named as in the schema's table:
//!
//! ```text
//! core.v1.Volume 1=name* 2>core.v1.VolumeSource
//! ```
//!
//! `*` marks a field whose zero is a value, not an absence; `>` one whose type's fields are the
//! struct's own; `|` one of a schema that is a schema or something else ([`Either`]). What is stored and what is passed about is JSON: this form is made for who asks for it
//! (`encode`), while he reads.
//! Source: Kubernetes API concepts, "Kubernetes Protobuf encoding"; Protocol Buffers, "Encoding".

pub(crate) mod encode;
pub(crate) mod wire;
pub(crate) mod write;

use std::collections::HashMap;
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::GroupVersionKind;
use model::schema::{Raw, Scalar, Type, TypeRef};
use serde_json::{Map, Value, json};

use self::wire::{Bytes, Wire, fields};

/// Precedes every body of this form.
pub(crate) const MAGIC: &[u8] = b"k8s\0";

const TABLE: &str = include_str!("protobuf/fields.txt");
/// Types nest no deeper than this. A level of JSON takes two of them at most.
const DEPTH: usize = 256;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtobufError {
    #[error("the body is not in Kubernetes' protobuf form")]
    Malformed,
    #[error("{api_version}, Kind={kind} has no protobuf form here")]
    Unknown { api_version: String, kind: String },
    #[error("the body holds JSON that cannot be read")]
    Json,
}

/// What stands behind a field's number.
enum Target {
    Field { name: &'static str, keeps_zero: bool, either: Option<Either> },
    Inline(&'static str),
}

/// What a value is where it is no schema, in a struct that is one. In JSON nothing says which of the two it is; here
/// each has a number.
#[derive(Clone, Copy)]
enum Either {
    /// True or false: whether there may be anything.
    Bool,
    /// Several schemas.
    List,
    /// Names.
    Texts,
}

type Message = HashMap<u64, Target>;

static MESSAGES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            (words.next().unwrap_or_default(), words.filter_map(target).collect())
        })
        .collect()
});

/// The media type of this form.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The document in a body, `apiVersion` and `kind` included.
pub(crate) fn document(body: &[u8]) -> Result<Value, ProtobufError> {
    document_as(body, |_| None)
}

/// As [`document`], where what says that it is of one kind may be read as being of another, with the same fields.
pub(crate) fn document_as(
    body: &[u8],
    other: impl FnOnce(&GroupVersionKind) -> Option<GroupVersionKind>,
) -> Result<Value, ProtobufError> {
    let (gvk, raw) = opened(body)?;
    message_document(&other(&gvk).unwrap_or(gvk), raw)
}

/// The document in an answer: an object, or a list of some.
pub(crate) fn readable(answer: &[u8]) -> Option<Value> {
    let (gvk, raw) = opened(answer).ok()?;
    if let Ok(document) = message_document(&gvk, raw) {
        return Some(document);
    }
    let of = gvk.kind.strip_suffix("List")?;
    let of = GroupVersionKind::new(&gvk.group, &gvk.version, of);
    let (mut metadata, mut items) = (Map::new(), Vec::new());
    for field in fields(raw) {
        match field.ok()? {
            (1, Wire::Bytes(list)) => {
                for field in fields(list) {
                    match field.ok()? {
                        (2, Wire::Bytes(text)) => {
                            metadata.insert("resourceVersion".to_owned(), json!(utf8(text).ok()?))
                        }
                        (3, Wire::Bytes(text)) => {
                            metadata.insert("continue".to_owned(), json!(utf8(text).ok()?))
                        }
                        (4, Wire::Number(count)) => {
                            metadata.insert("remainingItemCount".to_owned(), json!(count))
                        }
                        _ => None,
                    };
                }
            }
            (2, Wire::Bytes(item)) => {
                let mut item = message_document(&of, item).ok()?;
                // An item of a list does not say what it is.
                for name in ["kind", "apiVersion"] {
                    item.as_object_mut()?.shift_remove(name);
                }
                items.push(item);
            }
            _ => {}
        }
    }
    Some(json!({"kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": metadata, "items": items}))
}

/// Kind and message of a body.
fn opened(body: &[u8]) -> Result<(GroupVersionKind, Bytes<'_>), ProtobufError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtobufError::Malformed)?;
    let (mut kind, mut api_version, mut raw) = (String::new(), String::new(), Bytes::default());
    for field in fields(envelope) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for field in fields(meta) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    Ok((GroupVersionKind::new(group, version, kind), raw))
}

fn message_document(gvk: &GroupVersionKind, raw: Bytes<'_>) -> Result<Value, ProtobufError> {
    // Kinds of `meta/v1` belong to every group.
    let schema = model::schema::builtin(gvk)
        .or_else(|| model::schema::builtin(&GroupVersionKind::new("", "v1", &gvk.kind)))
        .ok_or_else(|| ProtobufError::Unknown { api_version: gvk.api_version(), kind: gvk.kind.clone() })?;
    let mut object = Map::new();
    object.insert("kind".to_owned(), json!(gvk.kind));
    object.insert("apiVersion".to_owned(), json!(gvk.api_version()));
    let message = name_of(schema.root()).ok_or(ProtobufError::Malformed)?;
    read_struct(schema.root(), &message, raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// The table's name of a struct.
fn name_of(ty: TypeRef<'_>) -> Option<String> {
    let name = &ty.structure()?.name;
    Some(match name.strip_prefix("io.k8s.apimachinery.pkg.apis.") {
        Some(meta) => format!("~{meta}"),
        None => name.strip_prefix("io.k8s.api.").unwrap_or(name).to_owned(),
    })
}

fn target(word: &'static str) -> Option<(u64, Target)> {
    if let Some((number, inline)) = word.split_once('>') {
        return Some((number.parse().ok()?, Target::Inline(inline)));
    }
    let (number, name) = word.split_once('=')?;
    let (name, either) = match name.split_once('|') {
        Some((name, "bool")) => (name, Some(Either::Bool)),
        Some((name, "list")) => (name, Some(Either::List)),
        Some((name, "texts")) => (name, Some(Either::Texts)),
        _ => (name, None),
    };
    let (name, keeps_zero) = match name.strip_suffix('*') {
        Some(name) => (name, true),
        None => (name, false),
    };
    Some((number.parse().ok()?, Target::Field { name, keeps_zero, either }))
}

fn read_struct(
    ty: TypeRef<'_>,
    message: &str,
    bytes: Bytes<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    if depth > DEPTH {
        return Err(ProtobufError::Malformed);
    }
    let Some(known) = MESSAGES.get(message) else { return Ok(()) };
    for field in fields(bytes) {
        let (number, wire) = field?;
        match (known.get(&number), wire) {
            (Some(Target::Inline(inline)), Wire::Bytes(inner)) => {
                read_struct(ty, inline, inner, object, depth + 1)?;
            }
            (Some(Target::Field { name, keeps_zero, either }), wire) => {
                // Names that the schema lacks are of another release.
                let Some(child) = ty.child(name) else { continue };
                match either {
                    None => read_field(child, wire, name, *keeps_zero, object, depth + 1)?,
                    Some(either) => {
                        let read = |wire| read_either(ty, *either, wire, depth + 1);
                        if matches!(child.get(), Type::Map { .. }) {
                            let (key, value) = read_entry(wire, read)?;
                            let map = object.entry(*name).or_insert_with(|| json!({}));
                            map.as_object_mut().ok_or(ProtobufError::Malformed)?.insert(key, value);
                        } else {
                            object.insert((*name).to_owned(), read(wire)?);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn read_field(
    ty: TypeRef<'_>,
    wire: Wire<'_>,
    name: &str,
    keeps_zero: bool,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match ty.get() {
        Type::List { .. } => {
            let items = ty.element().ok_or(ProtobufError::Malformed)?;
            let list = object.entry(name).or_insert_with(|| json!([]));
            let list = list.as_array_mut().ok_or(ProtobufError::Malformed)?;
            read_items(items, wire, list, depth)
        }
        Type::Map { .. } => {
            let values = ty.element().ok_or(ProtobufError::Malformed)?;
            let (key, value) = read_entry(wire, |wire| read_value(values, wire, depth + 1))?;
            let map = object.entry(name).or_insert_with(|| json!({}));
            map.as_object_mut().ok_or(ProtobufError::Malformed)?.insert(key, value);
            Ok(())
        }
        _ => {
            let value = read_value(ty, wire, depth)?;
            let is_zero = match &value {
                Value::Null => true,
                Value::String(text) => !keeps_zero && text.is_empty(),
                Value::Bool(value) => !keeps_zero && !value,
                Value::Number(number) => !keeps_zero && number.as_f64() == Some(0.0),
                _ => false,
            };
            if !is_zero {
                object.insert(name.to_owned(), value);
            }
            Ok(())
        }
    }
}

/// One item, or several numbers packed into one field.
fn read_items(
    items: TypeRef<'_>,
    wire: Wire<'_>,
    list: &mut Vec<Value>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let is_number = matches!(items.get(), Type::Scalar(Scalar::Int32 | Scalar::Int64));
    match wire {
        Wire::Bytes(packed) if is_number => {
            for number in wire::varints(packed) {
                list.push(json!(number?.cast_signed()));
            }
        }
        wire => list.push(read_value(items, wire, depth)?),
    }
    Ok(())
}

fn read_entry<'w>(
    wire: Wire<'w>,
    read: impl Fn(Wire<'w>) -> Result<Value, ProtobufError>,
) -> Result<(String, Value), ProtobufError> {
    let Wire::Bytes(entry) = wire else { return Err(ProtobufError::Malformed) };
    let (mut key, mut value) = (String::new(), None);
    for field in fields(entry) {
        match field? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => value = Some(read(wire)?),
            _ => {}
        }
    }
    // A value that is left out is its type's zero.
    let value = match value {
        Some(value) => value,
        None => read(Wire::Bytes(Bytes::default()))?,
    };
    Ok((key, value))
}

/// A schema, or what stands in the place of one.
fn read_either(
    schema: TypeRef<'_>,
    either: Either,
    wire: Wire<'_>,
    depth: usize,
) -> Result<Value, ProtobufError> {
    let Wire::Bytes(message) = wire else { return Err(ProtobufError::Malformed) };
    let (mut allows, mut one, mut several) = (false, None, Vec::new());
    for field in fields(message) {
        match (either, field?) {
            (Either::Bool, (1, Wire::Number(number))) => allows = number != 0,
            (Either::Bool, (2, wire)) | (Either::List | Either::Texts, (1, wire)) => {
                one = Some(read_value(schema, wire, depth + 1)?);
            }
            (Either::List, (2, wire)) => several.push(read_value(schema, wire, depth + 1)?),
            (Either::Texts, (2, Wire::Bytes(text))) => several.push(json!(utf8(text)?)),
            _ => {}
        }
    }
    Ok(match (either, one) {
        _ if !several.is_empty() => Value::Array(several),
        (_, Some(schema)) => schema,
        (Either::Bool, None) => json!(allows),
        (Either::List | Either::Texts, None) => Value::Null,
    })
}

fn read_value(ty: TypeRef<'_>, wire: Wire<'_>, depth: usize) -> Result<Value, ProtobufError> {
    if depth > DEPTH {
        return Err(ProtobufError::Malformed);
    }
    match (ty.get(), wire) {
        (Type::Scalar(scalar), wire) => read_scalar(*scalar, wire),
        (Type::Struct { .. }, Wire::Bytes(bytes)) => {
            let mut object = Map::new();
            let message = name_of(ty).ok_or(ProtobufError::Malformed)?;
            read_struct(ty, &message, bytes, &mut object, depth)?;
            Ok(Value::Object(object))
        }
        // A list as a value of its own is wrapped in a message.
        (Type::List { .. }, Wire::Bytes(bytes)) => {
            let items = ty.element().ok_or(ProtobufError::Malformed)?;
            let mut list = Vec::new();
            for field in fields(bytes) {
                if let (1, wire) = field? {
                    read_items(items, wire, &mut list, depth + 1)?;
                }
            }
            Ok(Value::Array(list))
        }
        (
            Type::Any | Type::Deduced | Type::Elsewhere(_) | Type::Raw(Raw::Extension | Raw::Fields),
            Wire::Bytes(bytes),
        ) => {
            let text = first(bytes)?;
            if text.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(text).map_err(|_| ProtobufError::Json)
        }
        _ => Err(ProtobufError::Malformed),
    }
}

fn read_scalar(scalar: Scalar, wire: Wire<'_>) -> Result<Value, ProtobufError> {
    Ok(match (scalar, wire) {
        (Scalar::String, Wire::Bytes(text)) => json!(utf8(text)?),
        (Scalar::Bytes, Wire::Bytes(bytes)) => json!(STANDARD.encode(bytes)),
        (Scalar::Int32 | Scalar::Int64, Wire::Number(number)) => json!(number.cast_signed()),
        (Scalar::Boolean, Wire::Number(number)) => json!(number != 0),
        (Scalar::Number, Wire::Double(bits)) => read_number(f64::from_bits(bits)),
        (Scalar::Number, Wire::Single(bits)) => read_number(f32::from_bits(bits).into()),
        (Scalar::Number, Wire::Number(number)) => json!(number.cast_signed()),
        (Scalar::Quantity, Wire::Bytes(bytes)) => json!(utf8(first(bytes)?)?),
        (Scalar::Time | Scalar::MicroTime, Wire::Bytes(bytes)) => read_time(scalar, bytes)?,
        (Scalar::IntOrString, Wire::Bytes(bytes)) => read_int_or_string(bytes)?,
        // The zero of whatever is left out of a map's entry.
        (Scalar::Int32 | Scalar::Int64 | Scalar::Number, Wire::Bytes([])) => json!(0),
        (Scalar::Boolean, Wire::Bytes([])) => json!(false),
        _ => return Err(ProtobufError::Malformed),
    })
}

/// A number as JSON has it: a whole one without a fraction, so that it is the one that was sent.
fn read_number(number: f64) -> Value {
    // Up to here each whole number is one of its own.
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && number.abs() <= EXACT { json!(number as i64) } else { json!(number) }
}

fn read_time(scalar: Scalar, bytes: Bytes<'_>) -> Result<Value, ProtobufError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => seconds = number.cast_signed(),
            (2, Wire::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let nanos = i32::try_from(nanos).map_err(|_| ProtobufError::Malformed)?;
    let at = base::Timestamp::new(seconds, nanos).map_err(|_| ProtobufError::Malformed)?;
    Ok(json!(if scalar == Scalar::MicroTime {
        model::time::format_micro(at)
    } else {
        model::time::format(at)
    }))
}

fn read_int_or_string(bytes: Bytes<'_>) -> Result<Value, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0i64, String::new());
    for field in fields(bytes) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(text) } else { json!(number) })
}

/// The first field of a message that only wraps bytes.
fn first(bytes: Bytes<'_>) -> Result<Bytes<'_>, ProtobufError> {
    for field in fields(bytes) {
        if let (1, Wire::Bytes(inner)) = field? {
            return Ok(inner);
        }
    }
    Ok(&[])
}

fn utf8(bytes: Bytes<'_>) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| ProtobufError::Malformed)
}

#[cfg(test)]
mod tests;

//! What Kubernetes fills in where a request leaves a field out.
//!
//! A kind is an entry in a table; kinds that hold pod templates share the functions of [`pod`].

mod apps;
mod discovery;
mod namespace;
mod node;
pub mod pod;
mod secret;
mod service;

use serde_json::{Map, Value};

use crate::object::Object;

type Fields = Map<String, Value>;

/// What fills in one kind's defaults.
type Defaults = fn(&mut Fields);

const KINDS: &[(&str, &str, Defaults)] = &[
    ("v1", "Pod", pod::object),
    ("v1", "PodTemplate", pod::template),
    ("v1", "Service", service::object),
    ("v1", "Secret", secret::object),
    ("v1", "Namespace", namespace::object),
    ("v1", "Node", node::object),
    ("v1", "Endpoints", discovery::endpoints),
    ("discovery.k8s.io/v1", "EndpointSlice", discovery::endpoint_slice),
    ("apps/v1", "Deployment", apps::deployment),
    ("apps/v1", "ReplicaSet", apps::replica_set),
];

/// Fills in the defaults of the object's kind; kinds without any are left alone. Applying twice
/// changes nothing.
pub fn apply(object: &mut Object) {
    let (version, kind) = (object.api_version(), object.kind());
    let entry = KINDS.iter().find(|(known_version, known, _)| *known_version == version && *known == kind);
    if let Some((_, _, defaults)) = entry {
        defaults(object.fields_mut());
    }
}

/// Sets a field that is absent, null, the empty text or 0: Go's zero values, which Kubernetes cannot
/// tell from absent in fields that are no pointers.
fn unset(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if is_zero(fields.get(name)) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Sets a field that is absent or null: for fields where an explicit zero counts.
fn missing(fields: &mut Fields, name: &str, value: impl Into<Value>) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// An object inside, made where there is none.
fn inside<'a>(fields: &'a mut Fields, name: &str) -> &'a mut Fields {
    let entry = fields.entry(name).or_insert(Value::Null);
    if !entry.is_object() {
        *entry = Value::Object(Fields::new());
    }
    entry.as_object_mut().expect("just made sure that it is an object")
}

/// An object inside, if there is one.
fn existing<'a>(fields: &'a mut Fields, name: &str) -> Option<&'a mut Fields> {
    fields.get_mut(name)?.as_object_mut()
}

/// The objects of a list inside.
fn each<'a>(fields: &'a mut Fields, name: &str) -> impl Iterator<Item = &'a mut Fields> {
    fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

fn text<'a>(fields: &'a Fields, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn is_zero(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! From a document to an object of a custom kind: metadata is read, what is not specified is pruned.
//!
//! Types of other fields are not looked at here: that they are wrong is told with all else that is wrong with
//! values ([`super::validate`]).

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{Additional, Structural, embedded};
use crate::decode::{DecodeError, Decoded, Problems};
use crate::object::Object;

/// Fields of an object that need not be specified.
pub(super) const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Reads a document as a whole object of the kind.
pub(crate) fn object(schema: &Structural, value: Value) -> Result<Decoded, DecodeError> {
    let Value::Object(mut fields) = value else {
        let message = format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            crate::decode::kind_of(&value)
        );
        return Err(DecodeError(message));
    };
    for name in ["kind", "apiVersion"] {
        if let Some(value) = fields.get(name).filter(|value| !value.is_string()) {
            let message = format!(
                ".{name} accessor error: {value} is of the type {}, expected string",
                embedded::go_type(value)
            );
            return Err(DecodeError(message));
        }
    }
    let mut problems = Problems::default();
    if let Some(metadata) = fields.get_mut("metadata") {
        *metadata = crate::decode::metadata(metadata.take(), &mut problems)?;
    }
    let mut pruned = Pruned::default();
    prune_fields(Some(schema), &mut fields, true, &mut pruned);
    drop_nulls(Some(schema), &mut fields);
    pruned.paths.sort_unstable();
    pruned.paths.iter().for_each(|path| problems.push_named("unknown field", path));
    let mut found = Vec::new();
    embedded::coerce_inside(schema, &mut fields, &mut String::new(), &mut found)?;
    found.sort_unstable();
    found.iter().for_each(|path| problems.push_named("unknown field", path));
    Ok(Decoded { object: Object::from_fields(fields), problems: problems.into_told() })
}

/// Prunes what `schema` does not specify of a value, and nothing of the metadata of what is a whole object.
/// Gives whether it found something.
pub fn prune(schema: &Structural, value: &mut Value, is_whole: bool) -> bool {
    let mut pruned = Pruned::default();
    if let Value::Object(fields) = value
        && is_whole
    {
        prune_fields(Some(schema), fields, true, &mut pruned);
    } else {
        prune_value(Some(schema), value, &mut pruned);
    }
    pruned.count > 0
}

/// Brings a document that was one of the kind to what is one now: what is not specified goes, and so do fields that
/// are null and may not be.
pub fn tidy(schema: &Structural, document: &mut Value) {
    if let Value::Object(fields) = document {
        prune_fields(Some(schema), fields, true, &mut Pruned::default());
        drop_nulls(Some(schema), fields);
    }
}

/// As many paths are told as anybody reads.
const TOLD: usize = 128;

/// What is pruned, and where one is.
#[derive(Default)]
struct Pruned {
    place: String,
    paths: Vec<String>,
    count: usize,
}

impl Pruned {
    fn note(&mut self, name: &str) {
        self.count += 1;
        if self.paths.len() < TOLD {
            let dot = if self.place.is_empty() { "" } else { "." };
            self.paths.push(format!("{}{dot}{name}", self.place));
        }
    }

    fn within<T>(&mut self, enter: impl FnOnce(&mut String), then: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.place.len();
        enter(&mut self.place);
        let outcome = then(self);
        self.place.truncate(length);
        outcome
    }
}

fn step(place: &mut String, name: &str) {
    if !place.is_empty() {
        place.push('.');
    }
    place.push_str(name);
}

fn prune_value(schema: Option<&Structural>, value: &mut Value, pruned: &mut Pruned) {
    match value {
        Value::Object(fields) => prune_fields(schema, fields, false, pruned),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let enter = |place: &mut String| {
                    let _ = write!(place, "[{index}]");
                };
                pruned.within(enter, |pruned| match schema {
                    // Items of what is kept anyway are looked at for what they specify themselves.
                    Some(schema) if schema.preserve_unknown => skip(schema.items.as_deref(), item, pruned),
                    schema => prune_value(schema.and_then(|schema| schema.items.as_deref()), item, pruned),
                });
            }
        }
        _ => {}
    }
}

/// `is_whole`: it is an object with metadata of its own, whatever the schema says.
fn prune_fields(
    schema: Option<&Structural>,
    fields: &mut Map<String, Value>,
    is_whole: bool,
    pruned: &mut Pruned,
) {
    let embedded = is_whole || schema.is_some_and(|schema| schema.embedded);
    let keeps = schema.is_some_and(|schema| schema.preserve_unknown);
    fields.retain(|name, value| {
        if embedded && META.contains(&name.as_str()) {
            return true;
        }
        let inner = match schema {
            Some(schema) => match (schema.property(name), &schema.additional) {
                (Some(property), _) => Some(Some(property)),
                (None, Additional::Of(additional)) => Some(Some(&**additional)),
                (None, Additional::Allowed(_)) => Some(None),
                (None, Additional::Unsaid) => None,
            },
            None => None,
        };
        match inner {
            Some(inner) => {
                pruned.within(|place| step(place, name), |pruned| prune_value(inner, value, pruned));
                true
            }
            None if keeps => true,
            None => {
                pruned.note(name);
                false
            }
        }
    });
}

/// Looks for what is to be pruned inside a value whose unknown fields are kept.
fn skip(schema: Option<&Structural>, value: &mut Value, pruned: &mut Pruned) {
    let Some(schema) = schema else { return };
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if schema.embedded && META.contains(&name.as_str()) {
                    continue;
                }
                let inner = match (schema.property(name), &schema.additional) {
                    (Some(property), _) => Some(property),
                    (None, Additional::Of(additional)) => Some(&**additional),
                    (None, Additional::Allowed(_)) => None,
                    (None, Additional::Unsaid) => continue,
                };
                pruned.within(|place| step(place, name), |pruned| prune_value(inner, value, pruned));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let enter = |place: &mut String| {
                    let _ = write!(place, "[{index}]");
                };
                pruned.within(enter, |pruned| skip(schema.items.as_deref(), item, pruned));
            }
        }
        _ => {}
    }
}

/// Drops fields that are null, may not be, and have no default.
fn drop_nulls(schema: Option<&Structural>, fields: &mut Map<String, Value>) {
    fields.retain(|name, value| {
        let inner = schema.and_then(|schema| schema.field(name));
        if value.is_null() && inner.is_some_and(|inner| !inner.nullable && inner.default.is_none()) {
            return false;
        }
        drop_nulls_inside(inner, value);
        true
    });
}

fn drop_nulls_inside(schema: Option<&Structural>, value: &mut Value) {
    match value {
        Value::Object(fields) => drop_nulls(schema, fields),
        Value::Array(items) => {
            let inner = schema.and_then(|schema| schema.items.as_deref());
            items.iter_mut().for_each(|item| drop_nulls_inside(inner, item));
        }
        _ => {}
    }
}

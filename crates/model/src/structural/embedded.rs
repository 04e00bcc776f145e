//! Whole objects inside others: that they say what they are, and that their metadata is one.

use serde_json::{Map, Value};

use super::{Structural, is_full};
use crate::decode::{DecodeError, Problems};
use crate::field::{FieldError, Path};
use crate::gvk::GroupVersion;
use crate::names;
use crate::object::Object;
use crate::validate::{Errors, Rules, Scope, metadata};

/// Reads the metadata of all whole objects inside; `place` is where `fields` stand. What metadata lacks is put
/// into `found`.
pub(super) fn coerce_inside(
    schema: &Structural,
    fields: &mut Map<String, Value>,
    place: &mut String,
    found: &mut Vec<String>,
) -> Result<(), DecodeError> {
    for (name, value) in fields.iter_mut() {
        let Some(inner) = schema.field(name) else { continue };
        let length = place.len();
        if schema.property(name).is_some() {
            if !place.is_empty() {
                place.push('.');
            }
            place.push_str(name);
        } else {
            place.push_str(&format!("[{name}]"));
        }
        coerce(inner, value, place, found)?;
        place.truncate(length);
    }
    Ok(())
}

fn coerce(
    schema: &Structural,
    value: &mut Value,
    place: &mut String,
    found: &mut Vec<String>,
) -> Result<(), DecodeError> {
    match value {
        Value::Object(fields) => {
            if schema.embedded {
                coerce_whole(fields, place, found)?;
            }
            coerce_inside(schema, fields, place, found)
        }
        Value::Array(items) => {
            let Some(inner) = &schema.items else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                let length = place.len();
                place.push_str(&format!("[{index}]"));
                coerce(inner, item, place, found)?;
                place.truncate(length);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn coerce_whole(
    fields: &mut Map<String, Value>,
    place: &str,
    found: &mut Vec<String>,
) -> Result<(), DecodeError> {
    let root = Path::root(place);
    for name in ["apiVersion", "kind"] {
        if let Some(value) = fields.get(name).filter(|value| !value.is_string()) {
            let error = FieldError::invalid(&root.child(name), value.clone(), "must be a string");
            return Err(DecodeError(error.to_string()));
        }
    }
    if let Some(value) = fields.get_mut("metadata") {
        let (given, mut problems) = (value.clone(), Problems::default());
        *value = crate::decode::metadata(given.clone(), &mut problems).map_err(|error| {
            DecodeError(FieldError::invalid(&root.child("metadata"), given, error.0).to_string())
        })?;
        for problem in problems.into_told() {
            let name = problem.trim_start_matches("unknown field \"").trim_end_matches('"');
            found.push(format!("{place}.{name}"));
        }
    }
    Ok(())
}

/// What is wrong with whole objects inside a document. `is_whole`: the document is one itself.
pub(super) fn check(
    schema: &Structural,
    value: &Value,
    is_whole: bool,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    if is_full(errors) {
        return;
    }
    match value {
        Value::Object(fields) => {
            if is_whole || schema.embedded {
                check_whole(fields, path, errors);
            }
            for (name, value) in fields {
                if let Some(inner) = schema.property(name) {
                    check(inner, value, false, &path.child(name), errors);
                } else if let Some(inner) = schema.additional() {
                    check(inner, value, false, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(inner) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                check(inner, item, false, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

/// Rules of the metadata of objects whose kinds nobody knows.
struct Unknown;

impl Rules for Unknown {
    fn name(&self, name: &str) -> Vec<String> {
        names::path_segment(name)
    }
}

fn check_whole(fields: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        if !fields.contains_key(name) {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
    for (name, value) in fields {
        let place = path.child(name);
        match (name.as_str(), value) {
            ("apiVersion" | "kind", Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(&place, "", "must not be empty"));
            }
            ("apiVersion", Value::String(text)) => {
                if let Err(error) = text.parse::<GroupVersion>() {
                    errors.push(FieldError::invalid(&place, text.as_str(), error.to_string()));
                }
            }
            ("kind", Value::String(text)) => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let message =
                        format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.push(FieldError::invalid(&place, text.as_str(), message));
                }
            }
            ("apiVersion" | "kind", other) => {
                errors.push(FieldError::invalid(&place, other.clone(), "must be a string"));
            }
            ("metadata", value) => check_metadata(value, path, &place, errors),
            _ => {}
        }
    }
}

fn check_metadata(value: &Value, path: &Path<'_>, place: &Path<'_>, errors: &mut Errors) {
    let read = match crate::decode::metadata(value.clone(), &mut Problems::default()) {
        Ok(read) => read,
        Err(error) => {
            errors.push(FieldError::invalid(place, value.clone(), error.0));
            return;
        }
    };
    let mut fields = Map::new();
    fields.insert("metadata".to_owned(), read);
    let mut object = Object::from_fields(fields);
    if object.name().is_empty() {
        object.set_name("fakename");
    }
    let scope = if object.namespace().is_some() { Scope::Namespaced } else { Scope::Cluster };
    let mut found = Vec::new();
    metadata::object(&object, scope, &Unknown, &mut found);
    let prefix = path.to_string();
    for error in found {
        let field = if prefix.is_empty() { error.field.clone() } else { format!("{prefix}.{}", error.field) };
        errors.push(FieldError { field, ..error });
    }
}

/// The Go type of a value of JSON.
pub fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

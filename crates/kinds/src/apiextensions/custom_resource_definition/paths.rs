//! Fields that objects of a kind are to be selected by.

use std::collections::HashSet;

use model::field::{FieldError, Path};
use model::validate::{Errors, text};
use serde_json::Value;

/// So many fields may be named.
const MOST: usize = 8;

/// What is wrong with the fields that a version names.
pub(super) fn selectable(fields: &Value, schema: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut known = HashSet::new();
    for (index, field) in fields.as_array().into_iter().flatten().enumerate() {
        let path = path.index(index);
        let path = path.child("jsonPath");
        let named = text(field, "jsonPath");
        if named.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let ty = match follow(named, schema) {
            Ok(ty) => ty,
            Err(why) => {
                errors.push(FieldError::invalid(&path, named, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if named.split('.').nth(1) == Some("metadata") {
            errors.push(FieldError::invalid(&path, named, "must not point to fields in metadata"));
        }
        if !matches!(ty, "string" | "boolean" | "integer") {
            let message = "must point to a field of type string, boolean or integer. Enum string fields and \
                           strings with formats are allowed.";
            errors.push(FieldError::invalid(&path, named, message));
        }
        if !known.insert(named) {
            errors.push(FieldError::duplicate(&path, named));
        }
    }
    if known.len() > MOST {
        errors.push(FieldError::too_many(path, known.len(), MOST));
    }
}

/// The type of what a path of names leads to.
fn follow<'a>(path: &str, schema: &'a Value) -> Result<&'a str, String> {
    let mut at = schema;
    if !path.starts_with('.') {
        let end = path.find(['.', '[', ']']).unwrap_or(path.len()).max(1);
        return Err(match path.chars().next() {
            Some('[') => "array notation is not allowed".to_owned(),
            _ => format!("expected [ or . but got: {}", &path[..end]),
        });
    }
    let mut rest = path;
    while let Some(after) = rest.strip_prefix('.') {
        let end = after.find(['.', '[', ']']).unwrap_or(after.len());
        let name = &after[..end];
        if name.is_empty() && after.is_empty() {
            return Err("unexpected end of JSON path".to_owned());
        }
        let no_field = || "does not refer to a valid field".to_owned();
        let properties =
            at.get("properties").filter(|properties| properties.as_object().is_some_and(|p| !p.is_empty()));
        at = match (properties, at.get("additionalProperties")) {
            (Some(properties), _) => properties.get(name).ok_or_else(no_field)?,
            (None, Some(additional)) if additional.is_object() => additional,
            _ => return Err(no_field()),
        };
        rest = &after[end..];
    }
    match rest.chars().next() {
        None => Ok(text(at, "type")),
        Some('[') => Err("array notation is not allowed".to_owned()),
        Some(other) => Err(format!("expected [ or . but got: {other}")),
    }
}

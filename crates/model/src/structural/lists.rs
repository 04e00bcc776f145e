//! That the items of lists that are sets or maps differ.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{ListType, MOST, Structural, is_full};
use crate::field::{FieldError, Path};
use crate::validate::Errors;

/// What is wrong with the lists inside a value.
pub(super) fn check(schema: &Structural, value: &Value, path: &Path<'_>, errors: &mut Errors) {
    if is_full(errors) {
        return;
    }
    match value {
        Value::Object(fields) => check_fields(schema, fields, path, errors),
        Value::Array(items) => {
            match &schema.list {
                ListType::Atomic => {}
                ListType::Set => {
                    let again = repeated(items.iter());
                    let duplicate =
                        |index: usize| FieldError::duplicate(&path.index(index), items[index].clone());
                    errors.extend(again.into_iter().take(MOST).map(duplicate));
                }
                ListType::Map(keys) => check_map(keys, items, path, errors),
            }
            let Some(inner) = &schema.items else { return };
            for (index, item) in items.iter().enumerate() {
                check(inner, item, &path.index(index), errors);
            }
        }
        _ => {}
    }
}

fn check_fields(schema: &Structural, fields: &Map<String, Value>, path: &Path<'_>, errors: &mut Errors) {
    if let Some(inner) = schema.additional() {
        for (name, value) in fields {
            check(inner, value, &path.key(name), errors);
        }
    }
    for (name, value) in fields {
        if let Some(inner) = schema.property(name) {
            check(inner, value, &path.child(name), errors);
        }
    }
}

fn check_map(keys: &[Box<str>], items: &[Value], path: &Path<'_>, errors: &mut Errors) {
    let odd = items.iter().position(|item| !item.is_object() && !item.is_null());
    if let Some(index) = odd {
        let message = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(&path.index(index), items[index].clone(), message));
        return;
    }
    let of_item = |item: &Value| {
        let set = keys.iter().filter_map(|key| Some((key.to_string(), item.get(key.as_ref())?.clone())));
        Value::Object(set.collect())
    };
    let found: Vec<Value> = items.iter().map(of_item).collect();
    let again = repeated(found.iter());
    let duplicate = |at: usize| FieldError::duplicate(&path.index(at), found[at].clone());
    errors.extend(again.into_iter().take(MOST).map(duplicate));
}

/// The places of values that are there for the second time.
fn repeated<'a>(values: impl Iterator<Item = &'a Value>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut again = Vec::new();
    for (index, value) in values.enumerate() {
        let times = seen.entry(canonical(value)).or_default();
        *times += 1;
        if *times == 2 {
            again.push(index);
        }
    }
    again
}

/// A text that equal values share, whatever the order of their fields.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            let inner: Vec<String> = fields
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", inner.join(","))
        }
        other => other.to_string(),
    }
}

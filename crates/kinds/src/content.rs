//! What config maps and secrets have in common: keys with values, which may be frozen.

use model::Object;
use model::field::{FieldError, Path};
use model::names::config_key;
use model::validate::{Errors, entries, invalid};
use serde_json::{Map, Value};

/// How many bytes one may hold.
pub(crate) const MAX_SIZE: usize = 1024 * 1024;

/// Checks keys that become files' names.
pub(crate) fn keys(value: &Value, name: &str, errors: &mut Errors) -> usize {
    let path = Path::root(name);
    let mut size = 0;
    for (key, entry) in entries(value, name) {
        invalid(errors, &path.key(key), key.as_str(), config_key(key));
        size += entry.as_str().map_or(0, str::len);
    }
    size
}

/// What was made immutable stays so, and its content too.
pub(crate) fn frozen(object: &Object, old: &Object, fields: &[&str], errors: &mut Errors) {
    const MESSAGE: &str = "field is immutable when `immutable` is set";
    if old.get(&["immutable"]) != Some(&Value::Bool(true)) {
        return;
    }
    if object.get(&["immutable"]) != Some(&Value::Bool(true)) {
        errors.push(FieldError::forbidden(&Path::root("immutable"), MESSAGE));
    }
    for field in fields {
        let entries =
            |object: &Object| object.get(&[field]).and_then(Value::as_object).cloned().unwrap_or_default();
        if entries(object) != entries(old) {
            errors.push(FieldError::forbidden(&Path::root(field), MESSAGE));
        }
    }
}

/// How many keys there are.
pub(crate) fn count(object: &Object, field: &str) -> usize {
    object.get(&[field]).and_then(Value::as_object).map_or(0, Map::len)
}

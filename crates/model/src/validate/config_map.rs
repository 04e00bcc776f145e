//! Rules of ConfigMap.

use serde_json::Value;

use super::{Errors, entries, volume};
use crate::field::{FieldError, Path};
use crate::object::Object;

/// What a config map or a secret may hold.
pub(super) const MAX_SIZE: usize = 1024 * 1024;

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let size =
        volume::keys(object.value(), "data", errors) + volume::keys(object.value(), "binaryData", errors);
    let data = Path::root("data");
    for (key, _) in entries(object.value(), "binaryData") {
        if object.get(&["data", key]).is_some() {
            let binary = Path::root("binaryData");
            errors.push(FieldError::invalid(
                &binary.key(key),
                key.as_str(),
                "duplicate of key present in data",
            ));
        }
    }
    if size > MAX_SIZE {
        let mut error = FieldError::too_long(&data, MAX_SIZE);
        // The object as a whole is too long, so Kubernetes names no field.
        error.field = "[]".into();
        errors.push(error);
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    frozen(object, old, &["data", "binaryData"], errors);
}

/// What was made immutable stays so, and its content too.
pub(super) fn frozen(object: &Object, old: &Object, fields: &[&str], errors: &mut Errors) {
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

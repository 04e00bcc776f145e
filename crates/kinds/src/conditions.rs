//! Rules of `metav1.Condition`s, which some kinds have in their status.

use std::collections::HashSet;

use model::field::{FieldError, Path};
use model::names::qualified;
use model::validate::{Errors, invalid, list, not_negative, text};
use serde_json::Value;

const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const REASON_BYTES: usize = 1024;
const MESSAGE_BYTES: usize = 32 * 1024;

/// The conditions of a status.
pub(crate) fn all(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    let conditions = path.child("conditions");
    let mut types = HashSet::new();
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = conditions.index(index);
        let kind = text(condition, "type");
        if !types.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&path.child("type"), "must be set"));
        } else {
            invalid(errors, &path.child("type"), kind, qualified(kind));
        }
        let holds = text(condition, "status");
        if !STATUSES.contains(&holds) {
            errors.push(FieldError::not_supported(&path.child("status"), holds, &STATUSES));
        }
        not_negative(errors, condition, "observedGeneration", &path);
        if text(condition, "lastTransitionTime").is_empty() {
            errors.push(FieldError::required(&path.child("lastTransitionTime"), "must be set"));
        }
        reason(text(condition, "reason"), &path.child("reason"), errors);
        if text(condition, "message").len() > MESSAGE_BYTES {
            errors.push(FieldError::too_long(&path.child("message"), MESSAGE_BYTES));
        }
    }
}

fn reason(reason: &str, path: &Path<'_>, errors: &mut Errors) {
    if reason.is_empty() {
        errors.push(FieldError::required(path, "must be set"));
        return;
    }
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_,:".contains(&byte);
    let bytes = reason.as_bytes();
    let fits = bytes[0].is_ascii_alphabetic()
        && bytes.iter().all(|byte| inside(*byte))
        && bytes.last().is_some_and(|last| last.is_ascii_alphanumeric() || *last == b'_');
    if !fits {
        let message = "a condition reason must start with alphabetic character, optionally followed by a string \
                       of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' \
                       (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', \
                       regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";
        errors.push(FieldError::invalid(path, reason, message));
    }
    if reason.len() > REASON_BYTES {
        errors.push(FieldError::too_long(path, REASON_BYTES));
    }
}

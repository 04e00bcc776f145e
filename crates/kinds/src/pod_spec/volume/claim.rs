//! Rules of claims that are made for a pod, from a template in its spec.

use serde_json::Value;

use model::field::{FieldError, Path};
use model::object::StringMap;
use model::validate::{Errors, entries, metadata};

use crate::core::persistent_volume_claim::rules::spec;

/// A template of claims.
pub(super) fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of_metadata = path.child("metadata");
    let empty = Value::Null;
    let metadata = template.get("metadata").unwrap_or(&empty);
    let texts = |name: &str| StringMap::new(metadata.get(name).and_then(Value::as_object));
    metadata::annotations(texts("annotations"), &of_metadata.child("annotations"), errors);
    metadata::labels(texts("labels"), &of_metadata.child("labels"), errors);
    for (name, _) in entries(template, "metadata") {
        if !["annotations", "labels"].contains(&name.as_str()) {
            errors.push(FieldError::forbidden(&of_metadata.child(name), "cannot be set"));
        }
    }
    spec(template.get("spec").unwrap_or(&empty), &path.child("spec"), errors);
}

//! Rules of Pod.

use model::Object;
use model::field::Path;
use model::object::StringMap;
use model::validate::Errors;
use serde_json::Value;

use crate::pod_spec::rules::{names, spec};
use crate::pod_spec::security;

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let of_pod = object.get(&["spec"]).unwrap_or(&empty);
    spec(of_pod, &Path::root("spec"), errors);
    let annotations = object.get(&["metadata", "annotations"]).and_then(Value::as_object);
    let path = Path::root("metadata");
    security::apparmor_annotations(
        StringMap::new(annotations),
        &names(of_pod),
        &path.child("annotations"),
        errors,
    );
}

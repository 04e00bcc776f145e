//! Rules of Event.

use super::Errors;
use crate::field::{FieldError, Path};
use crate::object::Object;

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let involved = object.get_str(&["involvedObject", "namespace"]).unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    // What is cluster-wide has its events in the default namespace.
    let fits = if involved.is_empty() {
        matches!(namespace, "default" | "kube-system")
    } else {
        involved == namespace
    };
    if !fits {
        let path = Path::root("involvedObject");
        errors.push(FieldError::invalid(
            &path.child("namespace"),
            involved,
            "does not match event.namespace",
        ));
    }
}

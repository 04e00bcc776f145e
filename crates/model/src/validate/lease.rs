//! Rules of Lease.

use serde_json::Value;

use super::{Errors, not_negative, number};
use crate::field::{FieldError, Path};
use crate::object::Object;

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    if let Some(seconds) = number(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        errors.push(FieldError::invalid(
            &path.child("leaseDurationSeconds"),
            seconds,
            "must be greater than 0",
        ));
    }
    not_negative(errors, spec, "leaseTransitions", &path);
}

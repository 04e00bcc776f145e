//! What Workloads and PodGroups share: the fields of a group, in a template or as it is.

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, invalid, number, text};
use serde_json::Value;

use crate::pod_spec::volume::set;

/// Fields of a group that are behind gates of their own, which are off.
pub(crate) const UNSUPPORTED: [&str; 5] =
    ["schedulingConstraints", "resourceClaims", "disruptionMode", "priorityClassName", "priority"];

/// A name that has to be there.
pub(crate) fn named(
    value: &Value,
    name: &str,
    rule: fn(&str) -> Vec<String>,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let path = path.child(name);
    match text(value, name) {
        "" => errors.push(FieldError::required(&path, "")),
        given => invalid(errors, &path, given, rule(given)),
    }
}

/// How the pods of a group are placed: in one of the ways that there are.
pub(crate) fn policy(group: &Value, path: &Path<'_>, errors: &mut Errors) {
    let policy = group.get("schedulingPolicy").unwrap_or(&Value::Null);
    let gang = set(policy, "gang");
    match (set(policy, "basic").is_some(), gang.is_some()) {
        (true, true) => {
            let message = "must specify exactly one of: `basic`, `gang`";
            errors.push(FieldError::invalid(path, "{basic, gang}", message));
        }
        (false, false) => {
            errors.push(FieldError::invalid(path, "", "must specify one of: `basic`, `gang`"));
        }
        _ => {}
    }
    let Some(gang) = gang else { return };
    let path = path.child("gang");
    let path = path.child("minCount");
    match number(gang, "minCount").unwrap_or(0) {
        0 => errors.push(FieldError::required(&path, "")),
        1.. => {}
        less => errors.push(FieldError::invalid(&path, less, "must be greater than or equal to 1")),
    }
}

/// Reports fields of the spec that are another than they were; what has not changed is not looked at again.
pub(crate) fn changed(object: &Object, old: &Object, fields: &[&str], errors: &mut Errors) {
    let path = Path::root("spec");
    for field in fields {
        let of = |object: &Object| object.get(&["spec", field]).filter(|value| !value.is_null()).cloned();
        if of(object) != of(old) {
            errors.push(FieldError::invalid(&path.child(field), Value::Null, "field is immutable"));
        }
    }
}

//! What of a pod may change: little, since it runs already.

use std::collections::HashSet;

use serde_json::{Map, Value};

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, list, number, text};

const EXPLANATION: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                           `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                           `spec.tolerations` (only additions to existing tolerations),\
                           `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let empty = Value::Object(Map::new());
    let (new, old) = (object.get(&["spec"]).unwrap_or(&empty), old.get(&["spec"]).unwrap_or(&empty));
    let path = Path::root("spec");
    let before = errors.len();
    for name in ["containers", "initContainers"] {
        if list(new, name).len() != list(old, name).len() {
            let message = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(name), message));
        }
        for (index, container) in list(new, name).iter().enumerate() {
            if text(container, "image").is_empty() {
                let list = path.child(name);
                errors.push(FieldError::required(&list.index(index).child("image"), ""));
            }
        }
    }
    if errors.len() > before {
        return;
    }
    deadline(new, old, &path, errors);

    let expected = with_allowed_changes(new, old);
    tolerations(new, old, &path, errors);
    if expected != *old {
        let message = format!("{EXPLANATION}\n{}", difference(&expected, old));
        errors.push(FieldError::forbidden(&path, message));
    }
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("activeDeadlineSeconds");
    match (number(new, "activeDeadlineSeconds"), number(old, "activeDeadlineSeconds")) {
        (Some(new), Some(old)) if new > old => {
            errors.push(FieldError::invalid(
                &path,
                new,
                "must be less than or equal to previous value".to_owned(),
            ));
        }
        (None, Some(_)) => {
            errors.push(FieldError::invalid(
                &path,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
        }
        _ => {}
    }
}

/// Tolerations may be added; those that are there stay, but may be made shorter.
fn tolerations(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let plain = |toleration: &Value| {
        let mut fields = toleration.clone();
        if let Some(fields) = fields.as_object_mut() {
            fields.shift_remove("tolerationSeconds");
        }
        fields
    };
    let kept: HashSet<Value> = list(new, "tolerations").iter().map(plain).collect();
    if !list(old, "tolerations").iter().all(|toleration| kept.contains(&plain(toleration))) {
        let message = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(&path.child("tolerations"), message));
    }
}

/// The new spec with all that may change set back.
fn with_allowed_changes(new: &Value, old: &Value) -> Value {
    let mut expected = new.clone();
    let Some(fields) = expected.as_object_mut() else { return expected };
    for name in ["containers", "initContainers"] {
        let images = list(old, name).iter().map(|container| container.get("image").cloned());
        let containers = fields.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, image) in containers.zip(images) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), image) {
                container.insert("image".into(), image);
            }
        }
    }
    let mut set_back = vec!["activeDeadlineSeconds", "tolerations"];
    let was_negative = number(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0);
    if was_negative && number(new, "terminationGracePeriodSeconds") == Some(1) {
        set_back.push("terminationGracePeriodSeconds");
    }
    // A gate may be opened, never closed.
    let gates: HashSet<&Value> = list(old, "schedulingGates").iter().collect();
    if list(new, "schedulingGates").iter().all(|gate| gates.contains(gate)) {
        set_back.push("schedulingGates");
    }
    for name in set_back {
        match old.get(name) {
            Some(value) => fields.insert(name.to_owned(), value.clone()),
            None => fields.shift_remove(name),
        };
    }
    expected
}

/// The fields that differ, one a line.
fn difference(new: &Value, old: &Value) -> String {
    let empty = Map::new();
    let (new, old) = (new.as_object().unwrap_or(&empty), old.as_object().unwrap_or(&empty));
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let print = |value: Option<&Value>| value.map_or_else(|| "unset".to_owned(), Value::to_string);
    let mut lines = String::new();
    for name in names.filter(|name| old.get(*name) != new.get(*name)) {
        lines.push_str(&format!(
            "-\t{name}: {}\n+\t{name}: {}\n",
            print(old.get(name)),
            print(new.get(name))
        ));
    }
    lines
}

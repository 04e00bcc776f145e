//! What of a pod may change: little, since it runs already.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, entries, list, number, text};

use crate::difference::difference;
use crate::pod_spec::security::annotations::{APPARMOR, MIRROR};

const EXPLANATION: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                           `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                           `spec.tolerations` (only additions to existing tolerations),\
                           `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    annotations(object, old, errors);
    let empty = Value::Object(Map::new());
    let (new, old) = (object.get(&["spec"]).unwrap_or(&empty), old.get(&["spec"]).unwrap_or(&empty));
    let path = Path::root("spec");
    for name in ["containers", "initContainers"] {
        if list(new, name).len() != list(old, name).len() {
            let message = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(&path.child(name), message));
            return;
        }
    }
    if !deadline(new, old, &path, errors) {
        return;
    }
    tolerations(new, old, &path, errors);
    scheduling_gates(new, old, &path, errors);
    if new == old {
        return;
    }
    let mut expected = with_allowed_changes(new, old);
    if !list(old, "schedulingGates").is_empty() {
        // Nothing has been decided yet: what is wanted of the node may still become more.
        gated(&mut expected, new, old, &path, errors);
    }
    if expected != *old {
        let message = format!("{EXPLANATION}\n{}", difference(&expected, old));
        errors.push(FieldError::forbidden(&path, message));
    }
}

/// Annotations that say what a pod is.
pub(super) fn annotations(object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("metadata");
    let path = path.child("annotations");
    let (new, old) = (object.annotations(), old.annotations());
    let kinds = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        _ if key.starts_with(APPARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, _) in old.iter().filter(|(key, value)| new.get(key) != Some(*value)) {
        if let Some(kind) = kinds(key) {
            errors.push(FieldError::forbidden(&path.key(key), format!("may not remove or update {kind}")));
        }
    }
    for (key, _) in new.iter().filter(|(key, _)| !old.contains_key(key)) {
        if let Some(kind) = kinds(key) {
            errors.push(FieldError::forbidden(&path.key(key), format!("may not add {kind}")));
        }
    }
}

/// Whether the rest is worth looking at.
fn deadline(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) -> bool {
    let path = path.child("activeDeadlineSeconds");
    let mut refuse = |value: Value, message: &str| errors.push(FieldError::invalid(&path, value, message));
    match (number(new, "activeDeadlineSeconds"), number(old, "activeDeadlineSeconds")) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            refuse(new.into(), "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(new), Some(old)) if new > old => {
            refuse(new.into(), "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            refuse(Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
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

/// A gate may be opened, never closed.
fn scheduling_gates(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("schedulingGates");
    let known: HashSet<&str> = list(old, "schedulingGates").iter().map(|gate| text(gate, "name")).collect();
    let names = list(new, "schedulingGates").iter().map(|gate| text(gate, "name")).enumerate();
    for (index, name) in names.filter(|(_, name)| !known.contains(name)) {
        let message = format!("only deletion is allowed, but found new scheduling gate '{name}'");
        errors.push(FieldError::forbidden(&path.index(index).child("name"), message));
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
    let mut set_back = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let was_negative = number(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0);
    if was_negative && number(new, "terminationGracePeriodSeconds") == Some(1) {
        set_back.push("terminationGracePeriodSeconds");
    }
    for name in set_back {
        set_field(fields, name, old.get(name));
    }
    expected
}

fn set_field(fields: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    match value {
        Some(value) => fields.insert(name.to_owned(), value.clone()),
        None => fields.shift_remove(name),
    };
}

/// Takes from `expected` what may change while there are gates: the node may be asked for more.
fn gated(expected: &mut Value, new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(fields) = expected.as_object_mut() else { return };
    if new.get("nodeSelector") != old.get("nodeSelector") {
        let of_new = new.get("nodeSelector").unwrap_or(&Value::Null);
        let is_kept = entries(old, "nodeSelector").all(|(key, value)| of_new.get(key) == Some(value));
        if !is_kept {
            let message = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.child("nodeSelector"), of_new.clone(), message));
        }
        set_field(fields, "nodeSelector", old.get("nodeSelector"));
    }
    let (of_new, of_old) = (new.pointer("/affinity/nodeAffinity"), old.pointer("/affinity/nodeAffinity"));
    if of_new == of_old {
        return;
    }
    let affinity = path.child("affinity");
    node_affinity(of_new, of_old, &affinity.child("nodeAffinity"), errors);
    let Some(Value::Object(affinity)) = fields.get_mut("affinity") else {
        if let Some(of_old) = of_old {
            fields.insert("affinity".to_owned(), json!({"nodeAffinity": of_old}));
        }
        return;
    };
    set_field(affinity, "nodeAffinity", of_old);
    if affinity.is_empty() && old.get("affinity").is_none() {
        fields.shift_remove("affinity");
    }
}

/// Of the terms that a node must match, each may only ask for more, and none may come or go.
fn node_affinity(new: Option<&Value>, old: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    fn terms(affinity: Option<&Value>) -> &[Value] {
        affinity
            .and_then(|affinity| affinity.get(REQUIRED))
            .map_or(&[], |required| list(required, "nodeSelectorTerms"))
    }
    let (new, old) = (terms(new), terms(old));
    let path = path.child(REQUIRED);
    let path = path.child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != new.len() {
        let message = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(FieldError::invalid(&path, new.to_vec(), message));
        return;
    }
    for (index, (new, old)) in new.iter().zip(old).enumerate() {
        let size = |term: &Value| list(term, "matchExpressions").len() + list(term, "matchFields").len();
        let has_more = ["matchExpressions", "matchFields"]
            .iter()
            .all(|kind| list(new, kind).starts_with(list(old, kind)))
            // What matches nothing would match something.
            && !(size(old) == 0 && size(new) > 0);
        if !has_more {
            let message = "only additions are allowed (no mutations or deletions)";
            errors.push(FieldError::invalid(&path.index(index), new.clone(), message));
        }
    }
}

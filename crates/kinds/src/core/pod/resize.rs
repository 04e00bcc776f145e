//! What the containers of a pod that is there already ask for and may have, changed by a path of its own.
//!
//! Source of the rules and messages: `ValidatePodResize`,
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/apis/core/validation/validation.go>.

use model::field::{FieldError, Path};
use model::validate::{Errors, list, text};
use model::{Object, Quantity};
use serde_json::{Map, Value};

use super::quality::class;
use crate::pod_spec::security::annotations::MIRROR;

/// The subresource that changes them.
pub(super) const PART: &str = "resize";

/// What a container may have changed by it, as far as it is sent; the rules let less through.
const SENT: [&str; 2] = ["resources", "resizePolicy"];
const LISTS: [&str; 2] = ["containers", "initContainers"];
const SIDES: [&str; 2] = ["limits", "requests"];
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// `old` with the resources of `new`, and with what that says of who manages which fields. Containers that are not
/// those of `old` stay as they were sent, so that the rules refuse them.
pub(super) fn update(new: &Object, old: &Object) -> Object {
    let mut updated = old.clone();
    for name in LISTS {
        let sent = new.get_list(&["spec", name]);
        let known = old.get_list(&["spec", name]);
        let same = sent.len() == known.len()
            && sent.iter().zip(known).all(|(sent, known)| text(sent, "name") == text(known, "name"));
        let containers: Vec<Value> = if same {
            sent.iter().zip(known).map(|(sent, known)| with(known, sent)).collect()
        } else {
            sent.to_vec()
        };
        if !(containers.is_empty() && known.is_empty()) {
            updated.set(&["spec", name], Value::Array(containers));
        }
    }
    for path in [["spec", "resources"], ["metadata", "managedFields"]] {
        match new.get(&path) {
            Some(value) => updated.set(&path, value.clone()),
            None => drop(updated.remove(&path)),
        }
    }
    updated
}

/// A container with what was sent of another form of it.
fn with(known: &Value, sent: &Value) -> Value {
    let mut container = known.as_object().cloned().unwrap_or_default();
    for field in SENT {
        match sent.get(field) {
            Some(value) => drop(container.insert(field.to_owned(), value.clone())),
            None => drop(container.shift_remove(field)),
        }
    }
    Value::Object(container)
}

/// Whether pods like this one cannot be resized at all: nothing else is looked at then.
pub(super) fn never(old: &Object, errors: &mut Errors) -> bool {
    let message = if old.annotations().contains_key(MIRROR) {
        "static pods cannot be resized"
    } else if old.get_str(&["spec", "os", "name"]) == Some("windows") {
        "windows pods cannot be resized"
    } else {
        return false;
    };
    // So Kubernetes calls the place.
    *errors = vec![FieldError::forbidden(&Path::root("[]"), message)];
    true
}

/// Rules of the change from one form of a pod to another.
pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let before = errors.len();
    let path = Path::root("spec");
    let none = Value::Null;
    let (new_spec, old_spec) = (object.get(&["spec"]).unwrap_or(&none), old.get(&["spec"]).unwrap_or(&none));
    let settled = old.get_str(&["status", "qosClass"]).filter(|class| !class.is_empty());
    if settled.unwrap_or_else(|| class(old)) != class(object) {
        let said = object.get_str(&["status", "qosClass"]).unwrap_or_default();
        let message = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid(&path, said, message));
    }
    if !node_takes_part(old) {
        errors.push(FieldError::forbidden(&path, "Pod running on node without support for resize"));
    }
    whole(new_spec, old_spec, &path, errors);
    if !old.get_list(&["status", "nodeAllocatableResourceClaimStatuses"]).is_empty() {
        let message = "pods with node allocatable resource claims cannot be resized";
        errors.push(FieldError::forbidden(&path, message));
    }
    if !in_order(new_spec, old_spec, &path, errors) {
        return;
    }
    for name in ["initContainers", "containers"] {
        let path = path.child(name);
        for (index, (new, old)) in list(new_spec, name).iter().zip(list(old_spec, name)).enumerate() {
            let path = path.index(index);
            removed(new.get("resources"), old.get("resources"), "resource", &path.child("resources"), errors);
        }
    }
    for (new, old) in list(new_spec, "containers").iter().zip(list(old_spec, "containers")) {
        if !stays_but_for_amounts(new, old) {
            errors.push(FieldError::forbidden(&path, "only cpu and memory resources are mutable"));
        }
    }
    let inits = path.child("initContainers");
    let pairs = list(new_spec, "initContainers").iter().zip(list(old_spec, "initContainers"));
    for (index, (new, old)) in pairs.enumerate() {
        let path = inits.index(index);
        if !stays_but_for_amounts(new, old) {
            let message = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(FieldError::forbidden(&path, message));
        }
        let restarts = list(old, "resizePolicy")
            .iter()
            .any(|policy| text(policy, "restartPolicy") == "RestartContainer");
        if text(old, "restartPolicy") != "Always" && restarts && !is_same(new, old) {
            let message =
                "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            errors.push(FieldError::forbidden(&path, message));
        }
    }
    // Whatever else differs was not taken from the request, but for what was put in on the way.
    if errors.len() == before && !is_same(&without(new_spec), &without(old_spec)) {
        errors.push(FieldError::forbidden(&path, "only cpu and memory resources are mutable"));
    }
}

/// A spec without what was looked at already.
fn without(spec: &Value) -> Value {
    let mut fields = spec.as_object().cloned().unwrap_or_default();
    for name in ["containers", "initContainers", "resources"] {
        fields.shift_remove(name);
    }
    Value::Object(fields)
}

/// Whether the node that runs a pod tells what its containers have: one that does not will not change it either.
fn node_takes_part(old: &Object) -> bool {
    let mut statuses = old.get_list(&["status", "containerStatuses"]).iter();
    let running =
        statuses.find(|status| status.pointer("/state/running").is_some_and(|running| !running.is_null()));
    running.is_none_or(|status| status.get("resources").is_some_and(|resources| !resources.is_null()))
}

/// What is said of the pod as a whole.
fn whole(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of = |spec: &Value| spec.get("resources").filter(|resources| !resources.is_null()).cloned();
    let (new, old) = (of(new), of(old));
    let says = |resources: &Option<Value>| {
        let resources = resources.as_ref();
        resources.is_some_and(|resources| SIDES.iter().any(|side| !amounts(Some(resources), side).is_empty()))
    };
    if !says(&new) && !says(&old) {
        return;
    }
    let own = path.child("resources");
    if old.is_some() && new.is_none() {
        errors.push(FieldError::forbidden(&own, "pod-level resources cannot be removed"));
        return;
    }
    removed(new.as_ref(), old.as_ref(), "pod-level resource", &own, errors);
    if !resources_stay_but_for_amounts(new.as_ref(), old.as_ref()) {
        let message = "only cpu and memory resources are mutable at pod-level";
        errors.push(FieldError::forbidden(path, message));
    }
}

/// Whether the containers are those that there were.
fn in_order(new: &Value, old: &Value, path: &Path<'_>, errors: &mut Errors) -> bool {
    let before = errors.len();
    for name in LISTS {
        let path = path.child(name);
        let (new, old) = (list(new, name), list(old, name));
        if new.len() != old.len() {
            let message = format!("{name} may not be added or removed on resize");
            errors.push(FieldError::forbidden(&path, message));
            continue;
        }
        for (index, _) in
            new.iter().zip(old).enumerate().filter(|(_, (new, old))| text(new, "name") != text(old, "name"))
        {
            let message = format!("{name} may not be renamed or reordered on resize");
            errors.push(FieldError::forbidden(&path.index(index).child("name"), message));
        }
    }
    errors.len() == before
}

/// What was asked for or limited stays so, whatever its amount.
fn removed(new: Option<&Value>, old: Option<&Value>, what: &str, path: &Path<'_>, errors: &mut Errors) {
    for side in ["requests", "limits"] {
        let (new, old) = (amounts(new, side), amounts(old, side));
        if old.keys().any(|name| !new.contains_key(name)) {
            let message = format!("{what} {side} cannot be removed");
            errors.push(FieldError::forbidden(&path.child(side), message));
        }
    }
}

/// Whether a container is as it was but for how much processor and memory it has.
fn stays_but_for_amounts(new: &Value, old: &Value) -> bool {
    let rest = |container: &Value| {
        let mut fields = container.as_object().cloned().unwrap_or_default();
        fields.shift_remove("resources");
        Value::Object(fields)
    };
    // One that has devices has what it has: Kubernetes refuses whatever is asked for.
    let claims = |container: &Value| {
        container.get("resources").is_some_and(|resources| !list(resources, "claims").is_empty())
    };
    !claims(new)
        && !claims(old)
        && is_same(&rest(new), &rest(old))
        && resources_stay_but_for_amounts(new.get("resources"), old.get("resources"))
}

fn resources_stay_but_for_amounts(new: Option<&Value>, old: Option<&Value>) -> bool {
    let others = |resources: Option<&Value>, side: &str| {
        let mut amounts = amounts(resources, side);
        amounts.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        Value::Object(amounts)
    };
    SIDES.iter().all(|side| is_same(&others(new, side), &others(old, side)))
}

fn amounts(resources: Option<&Value>, side: &str) -> Map<String, Value> {
    resources
        .and_then(|resources| resources.get(side))
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

/// Whether two values mean the same: what is empty is as what is not there, and an amount is what it comes to
/// however it is written.
fn is_same(a: &Value, b: &Value) -> bool {
    fn is_nothing(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.values().all(is_nothing),
            _ => false,
        }
    }
    match (a, b) {
        _ if is_nothing(a) && is_nothing(b) => true,
        (Value::Object(a), Value::Object(b)) => {
            let none = Value::Null;
            let of =
                |fields: &Map<String, Value>, name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
            a.iter().all(|(name, value)| is_same(value, b.get(name).unwrap_or(&none)))
                && b.keys().filter(|name| !a.contains_key(*name)).all(|name| is_nothing(&of(b, name)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        (Value::String(a_text), Value::String(b_text)) => {
            a_text == b_text
                || matches!((Quantity::from_json(a), Quantity::from_json(b)), (Some(a), Some(b)) if a == b)
        }
        _ => a == b,
    }
}

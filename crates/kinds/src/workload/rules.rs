//! Rules of workloads: their selector, their template, the counts of their status.

use serde_json::Value;

use model::validate::{Errors, immutable, metadata, not_negative, text};

use crate::pod_spec;
use model::field::{FieldError, Path};
use model::object::{Object, StringMap};
use model::select::LabelSelector;

/// Counts of a ReplicaSet's or a Deployment's status.
pub(crate) fn status(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let path = Path::root("status");
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "observedGeneration",
    ];
    for name in counts {
        not_negative(errors, status, name, &path);
    }
    let count = |name: &str| status.get(name).and_then(Value::as_i64).unwrap_or_default();
    let pairs = [
        ("fullyLabeledReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("readyReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ];
    for (less, more) in pairs {
        if count(less) > count(more) {
            let message = match more {
                "replicas" => "cannot be greater than status.replicas",
                _ => "cannot be greater than readyReplicas",
            };
            errors.push(FieldError::invalid(&path.child(less), count(less), message));
        }
    }
}

/// The selector must be there and select something.
pub(crate) fn selector(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("selector");
    let Some(selector) = spec.get("selector") else {
        errors.push(FieldError::required(&path, ""));
        return;
    };
    metadata::selector(selector, &path, errors);
    if LabelSelector::from_json(Some(selector)).is_ok_and(|parsed| parsed.is_everything()) {
        // Kubernetes says deployment for replica sets as well.
        let message = "empty selector is invalid for deployment";
        errors.push(FieldError::invalid(&path, selector.clone(), message));
    }
}

/// The template's pods must be selected, and be restarted always.
pub(crate) fn template(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("template");
    let empty = Value::Null;
    let template = spec.get("template").unwrap_or(&empty);
    let labels = template.get("metadata").and_then(|metadata| metadata.get("labels"));
    if let Ok(selector) = LabelSelector::from_json(spec.get("selector"))
        && !selector.is_everything()
        && !selector.matches_labels(StringMap::new(labels.and_then(Value::as_object)))
    {
        let metadata = path.child("metadata");
        let message = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            &metadata.child("labels"),
            labels.cloned().unwrap_or(Value::Null),
            message,
        ));
    }
    pod_spec::rules::template(template, &path, errors);
    let pod = template.get("spec").unwrap_or(&empty);
    let path = path.child("spec");
    let policy = text(pod, "restartPolicy");
    if !policy.is_empty() && policy != "Always" {
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if pod.get("activeDeadlineSeconds").is_some() {
        let message = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), message));
    }
}

pub(crate) fn selector_change(object: &Object, old: &Object, errors: &mut Errors) {
    let place = ["spec", "selector"];
    let path = Path::root("spec");
    immutable(errors, object.get(&place), old.get(&place), &path.child("selector"));
}

/// Whether a label selector asks for nothing.
pub(crate) fn is_empty(selector: &Value) -> bool {
    let is_there = |name: &str| match selector.get(name) {
        Some(Value::Object(labels)) => !labels.is_empty(),
        Some(Value::Array(expressions)) => !expressions.is_empty(),
        _ => false,
    };
    !is_there("matchLabels") && !is_there("matchExpressions")
}

/// Whether the selector of a spec selects the labels of its template; one that is malformed is told elsewhere.
pub(crate) fn selects_template(spec: &Value) -> bool {
    let labels = spec.pointer("/template/metadata/labels").and_then(Value::as_object);
    match spec.get("selector") {
        None => false,
        selector => LabelSelector::from_json(selector)
            .is_ok_and(|selector| selector.matches_labels(StringMap::new(labels))),
    }
}

/// Refuses the labels of a template that its selector does not select.
pub(crate) fn template_labels(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let labels = template.pointer("/metadata/labels").cloned().unwrap_or(Value::Null);
    let metadata = path.child("metadata");
    let message = "`selector` does not match template `labels`";
    errors.push(FieldError::invalid(&metadata.child("labels"), labels, message));
}

/// The pods of a template must be restarted always, and not end by themselves.
pub(crate) fn only_always(template: &Value, kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let empty = Value::Null;
    let pod = template.get("spec").unwrap_or(&empty);
    let path = path.child("spec");
    let policy = text(pod, "restartPolicy");
    if policy != "Always" {
        errors.push(FieldError::not_supported(&path.child("restartPolicy"), policy, &["Always"]));
    }
    if pod.get("activeDeadlineSeconds").is_some() {
        let message = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&path.child("activeDeadlineSeconds"), message));
    }
}

/// Counts of a status: none is below nothing, and that of collisions never falls.
pub(crate) fn counts(object: &Object, old: &Object, names: &[&str], errors: &mut Errors) {
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let path = Path::root("status");
    for name in names {
        not_negative(errors, status, name, &path);
    }
    let collisions = |object: &Object| object.get_i64(&["status", "collisionCount"]);
    if collisions(old).is_some_and(|before| collisions(object).is_none_or(|now| now < before)) {
        let now = collisions(object).unwrap_or_default();
        errors.push(FieldError::invalid(&path.child("collisionCount"), now, "cannot be decremented"));
    }
}

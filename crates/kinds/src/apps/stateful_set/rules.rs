//! Rules of StatefulSet.

use model::Object;
use model::field::{FieldError, Path};
use model::object::StringMap;
use model::validate::{Errors, metadata, not_negative, number, text};
use serde_json::{Value, json};

use crate::pod_spec::security;
use crate::workload::rules::{counts, is_empty, only_always, selects_template, template_labels};

/// What of the spec may change.
const CHANGING: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let policy = text(spec, "podManagementPolicy");
    if policy.is_empty() {
        errors.push(FieldError::required(&path.child("podManagementPolicy"), ""));
    } else if !["OrderedReady", "Parallel"].contains(&policy) {
        let message = "must be 'OrderedReady' or 'Parallel'";
        errors.push(FieldError::invalid(&path.child("podManagementPolicy"), policy, message));
    }
    strategy(spec, &path, errors);
    retention(spec, &path, errors);
    not_negative(errors, spec, "replicas", &path);
    not_negative(errors, spec, "minReadySeconds", &path);
    if let Some(start) =
        spec.get("ordinals").and_then(|ordinals| number(ordinals, "start")).filter(|n| *n < 0)
    {
        let message = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&path.child("ordinals.start"), start, message));
    }
    not_negative(errors, spec, "revisionHistoryLimit", &path);
    let of_selector = path.child("selector");
    match spec.get("selector") {
        None => errors.push(FieldError::required(&of_selector, "")),
        Some(selector) => {
            metadata::selector(selector, &of_selector, errors);
            if is_empty(selector) {
                let message = "empty selector is invalid for statefulset";
                errors.push(FieldError::invalid(&of_selector, selector.clone(), message));
            }
        }
    }
    let of_template = path.child("template");
    let template = spec.get("template").unwrap_or(&empty);
    if spec.get("selector").is_some_and(|selector| !is_empty(selector)) && !selects_template(spec) {
        template_labels(template, &of_template, errors);
    }
    // The pods' volumes are known when there are claims: until then, their specs are not looked at.
    let of_metadata = |name: &str| {
        StringMap::new(template.pointer(&format!("/metadata/{name}")).and_then(Value::as_object))
    };
    let annotations = of_template.child("annotations");
    metadata::labels(of_metadata("labels"), &of_template.child("labels"), errors);
    metadata::annotations(of_metadata("annotations"), &annotations, errors);
    let pod = template.get("spec").unwrap_or(&empty);
    security::annotations::all(of_metadata("annotations"), pod, &annotations, errors);
    only_always(template, "StatefulSet", &of_template, errors);
}

fn strategy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let empty = Value::Null;
    let strategy = spec.get("updateStrategy").unwrap_or(&empty);
    let path = path.child("updateStrategy");
    let rolling = path.child("rollingUpdate");
    match (text(strategy, "type"), strategy.get("rollingUpdate")) {
        ("", _) => errors.push(FieldError::required(&path, "")),
        ("OnDelete", Some(update)) => {
            let shown =
                json!({"Partition": number(update, "partition").unwrap_or_default(), "MaxUnavailable": null});
            let message = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(&rolling, shown, message));
        }
        ("RollingUpdate", Some(update)) => not_negative(errors, update, "partition", &rolling),
        ("OnDelete" | "RollingUpdate", None) => {}
        (other, update) => {
            let shown = json!({"Type": other, "RollingUpdate": update});
            errors.push(FieldError::invalid(&path, shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

fn retention(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = spec.get("persistentVolumeClaimRetentionPolicy") else { return };
    let path = path.child("persistentVolumeClaimRetentionPolicy");
    for name in ["whenDeleted", "whenScaled"] {
        let what = text(policy, name);
        if !["Retain", "Delete"].contains(&what) {
            errors.push(FieldError::not_supported(&path.child(name), what, &["Retain", "Delete"]));
        }
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let fixed = |object: &Object| {
        let spec = object.get(&["spec"]).and_then(Value::as_object).cloned().unwrap_or_default();
        spec.into_iter().filter(|(name, _)| !CHANGING.contains(&name.as_str())).collect::<Value>()
    };
    if fixed(object) != fixed(old) {
        let message = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                       'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                       'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&Path::root("spec"), message));
    }
}

pub(super) fn status(object: &Object, old: &Object, errors: &mut Errors) {
    const COUNTS: [&str; 7] = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    counts(object, old, &COUNTS, errors);
    let count = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    let status = Path::root("status");
    let pairs = [
        ("readyReplicas", "replicas"),
        ("currentReplicas", "replicas"),
        ("updatedReplicas", "replicas"),
        ("availableReplicas", "replicas"),
        ("availableReplicas", "readyReplicas"),
    ];
    for (less, more) in pairs {
        if count(less) > count(more) {
            let message = format!("cannot be greater than status.{more}");
            errors.push(FieldError::invalid(&status.child(less), count(less), message));
        }
    }
}

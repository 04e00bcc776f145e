//! Rules of ResourceQuota.

use std::collections::{BTreeSet, HashSet};

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, entries, list, text};
use serde_json::{Value, json};

use crate::resource_names::{amount, is_standard_in_quotas, of_quota};

const SCOPES: [&str; 7] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// What a pod uses, besides that it is there.
const OF_PODS: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
/// What a claim uses.
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// No pod is in both of these.
const CONFLICTING: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["NotTerminating", "Terminating"]];

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    amounts(spec, "hard", &path, errors);
    scopes(spec, &path, errors);
    selector(spec, &path, errors);
    status(object, object, errors);
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let scopes = |object: &Object| -> BTreeSet<String> {
        let scopes = object.get_list(&["spec", "scopes"]).iter().filter_map(Value::as_str);
        scopes.map(str::to_owned).collect()
    };
    if scopes(object) != scopes(old) {
        let spec = Path::root("spec");
        let now = object.get(&["spec", "scopes"]).cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(&spec.child("scopes"), now, "field is immutable"));
    }
}

pub(super) fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let Some(status) = object.get(&["status"]) else { return };
    let path = Path::root("status");
    amounts(status, "hard", &path, errors);
    amounts(status, "used", &path, errors);
}

fn amounts(of: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child(name);
    for (resource, value) in entries(of, name) {
        let path = path.key(resource);
        of_quota(resource, &path, errors);
        amount(resource, value, &path, errors);
    }
}

/// Whether a scope can be that of an amount of the resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || OF_PODS.contains(&resource),
        "VolumeAttributesClass" => OF_CLAIMS.contains(&resource),
        _ => true,
    }
}

/// The resources that are bounded, in order.
fn bounded(spec: &Value) -> BTreeSet<&str> {
    entries(spec, "hard").map(|(name, _)| name.as_str()).filter(|name| is_standard_in_quotas(name)).collect()
}

fn scopes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let scopes = list(spec, "scopes");
    let path = path.child("scopes");
    let mut refuse = |message: &str| errors.push(FieldError::invalid(&path, scopes.to_vec(), message));
    let mut known = HashSet::new();
    for scope in scopes.iter().map(|scope| scope.as_str().unwrap_or_default()) {
        if !SCOPES.contains(&scope) {
            refuse("unsupported scope");
        }
        for _ in bounded(spec).into_iter().filter(|resource| !fits(scope, resource)) {
            refuse("unsupported scope applied to resource");
        }
        known.insert(scope);
    }
    for _ in CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| known.contains(scope))) {
        refuse("conflicting scopes");
    }
}

fn selector(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = spec.get("scopeSelector") else { return };
    let path = path.child("scopeSelector");
    let path = path.child("matchExpressions");
    // The selector as Kubernetes has it inside.
    let shown = || {
        let expressions: Vec<Value> = list(selector, "matchExpressions")
            .iter()
            .map(|one| json!({"ScopeName": one["scopeName"], "Operator": one["operator"], "Values": one["values"]}))
            .collect();
        json!({"MatchExpressions": expressions})
    };
    let mut known = HashSet::new();
    for one in list(selector, "matchExpressions") {
        let (scope, operator, values) = (text(one, "scopeName"), text(one, "operator"), list(one, "values"));
        if !SCOPES.contains(&scope) {
            errors.push(FieldError::invalid(&path.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in bounded(spec).into_iter().filter(|resource| !fits(scope, resource)) {
            let message = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(&path, shown(), message));
        }
        let only_whether =
            !matches!(scope, "PriorityClass" | "VolumeAttributesClass") && SCOPES.contains(&scope);
        if only_whether && operator != "Exists" {
            let message = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                           ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                           ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(&path.child("operator"), operator, message));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let message =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&path.child("values"), message));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let message =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&path.child("values"), values.to_vec(), message));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => {
                let message = "not a valid selector operator";
                errors.push(FieldError::invalid(&path.child("operator"), operator, message));
            }
        }
        known.insert(scope);
    }
    for _ in CONFLICTING.iter().filter(|pair| pair.iter().all(|scope| known.contains(scope))) {
        let scopes = spec.get("scopes").cloned().unwrap_or(Value::Null);
        errors.push(FieldError::invalid(&path, scopes, "conflicting scopes"));
    }
}

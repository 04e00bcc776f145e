//! Rules of autoscalers, of autoscaling/v2.

use std::borrow::Cow;

use model::Object;
use model::Quantity;
use model::field::{FieldError, Path};
use model::names::{dns1123_label, path_segment};
use model::validate::{Errors, Rules, invalid, list, not_negative, number, text};
use serde_json::Value;

use crate::features::{Feature, Features};
use crate::resource_names::{not_negative as no_debt, of_container};

const MOST_STABLE_SECONDS: i64 = 3600;
const MOST_PERIOD_SECONDS: i64 = 1800;
/// The kinds of metrics, and the fields that they are in.
const KINDS: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// In this order Kubernetes looks at them.
const ORDER: [&str; 5] = ["object", "external", "pods", "resource", "containerResource"];

/// What autoscalers must be, in either version of the API: `stored` gives one of autoscaling/v2, of which Kubernetes
/// asks its rules.
pub(crate) struct Autoscaling {
    /// The fewest pods that may be asked for: none where features let it be so, otherwise one.
    pub(crate) least: i64,
    pub(crate) stored: fn(&Object) -> Cow<'_, Object>,
}

impl Autoscaling {
    pub(crate) fn new(features: &Features, stored: fn(&Object) -> Cow<'_, Object>) -> Self {
        Self { least: if features.has(Feature::HpaScaleToZero) { 0 } else { 1 }, stored }
    }
}

impl Rules for Autoscaling {
    fn object(&self, object: &Object, errors: &mut Errors) {
        let object = (self.stored)(object);
        spec(&object, self.least, errors);
        if self.least == 0 {
            to_nothing(&object, errors);
        }
    }

    fn change(&self, object: &Object, old: &Object, errors: &mut Errors) {
        let (object, old) = ((self.stored)(object), (self.stored)(old));
        // One that was let in with nothing may keep it.
        if self.least > 0 && old.get_i64(&["spec", "minReplicas"]) == Some(0) {
            let message = format!("must be greater than or equal to {}", self.least);
            errors.retain(|error| error.field != "spec.minReplicas" || error.detail != message);
            to_nothing(&object, errors);
        }
    }

    fn status(&self, object: &Object, _: &Object, errors: &mut Errors) {
        let empty = Value::Null;
        let status = object.get(&["status"]).unwrap_or(&empty);
        for name in ["currentReplicas", "desiredReplicas"] {
            not_negative(errors, status, name, &Path::root("status"));
        }
    }
}

/// Who scales to nothing has to hear from elsewhere when pods are needed: none is left to be measured.
fn to_nothing(object: &Object, errors: &mut Errors) {
    if object.get_i64(&["spec", "minReplicas"]) != Some(0) {
        return;
    }
    let metrics = object.get_list(&["spec", "metrics"]);
    if !metrics.iter().any(|metric| metric["type"] == "Object" || metric["type"] == "External") {
        let spec = Path::root("spec");
        let message =
            "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(&spec.child("metrics"), message));
    }
}

fn spec(object: &Object, least: i64, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let (min, max) = (number(spec, "minReplicas"), number(spec, "maxReplicas").unwrap_or_default());
    if let Some(min) = min.filter(|min| *min < least) {
        let message = format!("must be greater than or equal to {least}");
        errors.push(FieldError::invalid(&path.child("minReplicas"), min, message));
    }
    if max < 1 {
        errors.push(FieldError::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        let message = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&path.child("maxReplicas"), max, message));
    }
    reference(spec.get("scaleTargetRef"), &path.child("scaleTargetRef"), errors);
    let metrics = path.child("metrics");
    for (index, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &metrics.index(index), errors);
    }
    if let Some(behavior) = spec.get("behavior") {
        let path = path.child("behavior");
        for name in ["scaleUp", "scaleDown"] {
            if let Some(rules) = behavior.get(name) {
                scaling(rules, &path.child(name), errors);
            }
        }
    }
}

fn reference(reference: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    for name in ["kind", "name"] {
        let value = reference.map(|reference| text(reference, name)).unwrap_or_default();
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        } else {
            invalid(errors, &path.child(name), value, path_segment(value));
        }
    }
}

fn metric(metric: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(metric, "type");
    let names = KINDS.map(|(name, _)| name);
    let of_type = path.child("type");
    if kind.is_empty() {
        errors.push(FieldError::required(&of_type, "must specify a metric source type"));
    }
    let field = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if field.is_none() {
        errors.push(FieldError::not_supported(&of_type, kind, &names));
    }
    let present: Vec<&str> = ORDER.into_iter().filter(|name| metric.get(name).is_some()).collect();
    if let Some(first) = present.first() {
        source(first, &metric[*first], &path.child(first), errors);
    }
    match field {
        Some(field) if metric.get(field).is_none() => {
            let message = "must populate information for the given metric source";
            errors.push(FieldError::required(&path.child(field), message));
        }
        Some(_) => {}
        None => errors.push(FieldError::not_supported(&of_type, kind, &names)),
    }
    if present.len() != 1 {
        let mut others: Vec<&str> = present.into_iter().filter(|name| Some(*name) != field).collect();
        others.sort_unstable();
        for other in others {
            let message = "must populate the given metric source only";
            errors.push(FieldError::forbidden(&path.child(other), message));
        }
    }
}

fn source(kind: &str, source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let empty = Value::Null;
    let wanted = source.get("target").unwrap_or(&empty);
    let has = |name: &str| wanted.get(name).is_some();
    let of_target = path.child("target");
    match kind {
        "object" | "external" | "pods" => {
            if kind == "object" {
                reference(source.get("describedObject"), &path.child("describedObject"), errors);
            }
            identifier(source.get("metric").unwrap_or(&empty), &path.child("metric"), errors);
            target(wanted, &of_target, errors);
            let missing = match kind {
                "pods" => (!has("averageValue")).then_some("must specify a positive target averageValue"),
                "object" => {
                    let neither = !has("value") && !has("averageValue");
                    neither.then_some("must set either a target value or averageValue")
                }
                _ => {
                    let neither = !has("value") && !has("averageValue");
                    neither.then_some("must set either a target value for metric or a per-pod target")
                }
            };
            if let Some(message) = missing {
                errors.push(FieldError::required(&of_target.child("averageValue"), message));
            }
            if kind == "external" && has("value") && has("averageValue") {
                let message = "may not set both a target value for metric and a per-pod target";
                errors.push(FieldError::forbidden(&of_target.child("value"), message));
            }
        }
        _ => {
            let name = text(source, "name");
            if name.is_empty() {
                errors.push(FieldError::required(&path.child("name"), "must specify a resource name"));
            } else if kind == "containerResource" {
                of_container(name, &path.child("name"), errors);
            }
            if kind == "containerResource" {
                let container = text(source, "container");
                if container.is_empty() {
                    errors.push(FieldError::required(&path.child("container"), "must specify a container"));
                } else {
                    invalid(errors, &path.child("container"), container, dns1123_label(container));
                }
            }
            target(wanted, &of_target, errors);
            let message = "must set either a target raw value or a target utilization";
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => {
                    errors.push(FieldError::required(&of_target.child("averageUtilization"), message));
                }
                (true, true) => {
                    let message = "may not set both a target raw value and a target utilization";
                    errors.push(FieldError::forbidden(&of_target.child("averageValue"), message));
                }
                _ => {}
            }
        }
    }
}

fn identifier(metric: &Value, path: &Path<'_>, errors: &mut Errors) {
    let name = text(metric, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), "must specify a metric name"));
    } else {
        invalid(errors, &path.child("name"), name, path_segment(name));
    }
}

fn target(target: &Value, path: &Path<'_>, errors: &mut Errors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.push(FieldError::required(&path.child("type"), "must specify a metric target type"));
    }
    if !["Utilization", "Value", "AverageValue"].contains(&kind) {
        let message = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(&path.child("type"), kind, message));
    }
    for name in ["value", "averageValue"] {
        let Some(value) = target.get(name) else { continue };
        if Quantity::from_json(value).is_none_or(|amount| amount <= Quantity::ZERO) {
            errors.push(FieldError::invalid(&path.child(name), value.clone(), "must be positive"));
        }
    }
    if let Some(percent) = number(target, "averageUtilization").filter(|percent| *percent < 1) {
        let path = path.child("averageUtilization");
        errors.push(FieldError::invalid(&path, percent, "must be greater than 0"));
    }
}

fn scaling(rules: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of_window = path.child("stabilizationWindowSeconds");
    if let Some(seconds) = number(rules, "stabilizationWindowSeconds") {
        if seconds < 0 {
            let message = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&of_window, seconds, message));
        }
        if seconds > MOST_STABLE_SECONDS {
            let message = format!("must be less than or equal to {MOST_STABLE_SECONDS}");
            errors.push(FieldError::invalid(&of_window, seconds, message));
        }
    }
    let selects = ["Disabled", "Max", "Min"];
    if let Some(select) =
        rules.get("selectPolicy").and_then(Value::as_str).filter(|one| !selects.contains(one))
    {
        errors.push(FieldError::not_supported(&path.child("selectPolicy"), select, &selects));
    }
    let policies = path.child("policies");
    if list(rules, "policies").is_empty() {
        errors.push(FieldError::required(&policies, "must specify at least one Policy"));
    }
    for (index, policy) in list(rules, "policies").iter().enumerate() {
        scaling_policy(policy, &policies.index(index), errors);
    }
    if let Some(tolerance) = rules.get("tolerance") {
        no_debt(tolerance, &path.child("tolerance"), errors);
    }
}

fn scaling_policy(policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (kind, kinds) = (text(policy, "type"), ["Percent", "Pods"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &kinds));
    }
    for name in ["value", "periodSeconds"] {
        let amount = number(policy, name).unwrap_or_default();
        if amount <= 0 {
            errors.push(FieldError::invalid(&path.child(name), amount, "must be greater than zero"));
        }
        if name == "periodSeconds" && amount > MOST_PERIOD_SECONDS {
            let message = format!("must be less than or equal to {MOST_PERIOD_SECONDS}");
            errors.push(FieldError::invalid(&path.child(name), amount, message));
        }
    }
}

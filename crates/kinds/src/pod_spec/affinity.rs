//! Rules of where a pod wants to be: by nodes, by other pods, spread over parts of the cluster.

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, invalid, list, metadata, number, text};

use super::volume::set;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What a pod says of the nodes and the pods that it wants to be with.
pub(super) fn affinity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(affinity) = set(spec, "affinity") else { return };
    let path = path.child("affinity");
    if let Some(of_nodes) = set(affinity, "nodeAffinity") {
        let path = path.child("nodeAffinity");
        if let Some(selector) = set(of_nodes, REQUIRED) {
            node_selector(selector, &path.child(REQUIRED), errors);
        }
        let preferred = path.child(PREFERRED);
        for (index, term) in list(of_nodes, PREFERRED).iter().enumerate() {
            let path = preferred.index(index);
            weight(term, &path, errors);
            if let Some(preference) = set(term, "preference") {
                // A value that no label can have may be preferred: nothing is lost by it.
                node_term(preference, &path.child("preference"), false, errors);
            }
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(of_pods) = set(affinity, kind) else { continue };
        let path = path.child(kind);
        let required = path.child(REQUIRED);
        for (index, term) in list(of_pods, REQUIRED).iter().enumerate() {
            pod_term(term, &required.index(index), errors);
        }
        let preferred = path.child(PREFERRED);
        let empty = Value::Null;
        for (index, term) in list(of_pods, PREFERRED).iter().enumerate() {
            let path = preferred.index(index);
            weight(term, &path, errors);
            pod_term(term.get("podAffinityTerm").unwrap_or(&empty), &path.child("podAffinityTerm"), errors);
        }
    }
}

/// A selector of nodes, of which one term must match.
pub(crate) fn node_selector(selector: &Value, path: &Path<'_>, errors: &mut Errors) {
    let terms = path.child("nodeSelectorTerms");
    if list(selector, "nodeSelectorTerms").is_empty() {
        errors.push(FieldError::required(&terms, "must have at least one node selector term"));
    }
    for (index, term) in list(selector, "nodeSelectorTerms").iter().enumerate() {
        node_term(term, &terms.index(index), true, errors);
    }
}

fn weight(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    let weight = number(term, "weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&path.child("weight"), weight, "must be in the range 1-100"));
    }
}

fn node_term(term: &Value, path: &Path<'_>, checks_values: bool, errors: &mut Errors) {
    let expressions = path.child("matchExpressions");
    for (index, expression) in list(term, "matchExpressions").iter().enumerate() {
        node_expression(expression, &expressions.index(index), checks_values, errors);
    }
    let fields = path.child("matchFields");
    for (index, field) in list(term, "matchFields").iter().enumerate() {
        node_field(field, &fields.index(index), errors);
    }
}

fn node_expression(expression: &Value, path: &Path<'_>, checks_values: bool, errors: &mut Errors) {
    let (values, of_values) = (list(expression, "values"), path.child("values"));
    match text(expression, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            let message = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.push(FieldError::required(&of_values, message));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.push(FieldError::forbidden(&of_values, message));
        }
        "Gt" | "Lt" if values.len() != 1 => {
            let message = "must be specified single value when `operator` is 'Lt' or 'Gt'";
            errors.push(FieldError::required(&of_values, message));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => {
            errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    let key = text(expression, "key");
    invalid(errors, &path.child("key"), key, names::qualified(key));
    for (index, value) in values.iter().enumerate().filter(|_| checks_values) {
        let value = value.as_str().unwrap_or_default();
        invalid(errors, &of_values.index(index), value, names::label_value(value));
    }
}

/// A node may be named, too.
fn node_field(field: &Value, path: &Path<'_>, errors: &mut Errors) {
    let (values, of_values) = (list(field, "values"), path.child("values"));
    match text(field, "operator") {
        "In" | "NotIn" if values.len() == 1 => {}
        "In" | "NotIn" => {
            let message = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.push(FieldError::required(&of_values, message));
        }
        other => {
            errors.push(FieldError::invalid(&path.child("operator"), other, "not a valid selector operator"));
        }
    }
    let key = text(field, "key");
    if key != "metadata.name" {
        errors.push(FieldError::invalid(&path.child("key"), key, "not a valid field selector key"));
        return;
    }
    for (index, value) in values.iter().enumerate() {
        let value = value.as_str().unwrap_or_default();
        invalid(errors, &of_values.index(index), value, names::dns1123_subdomain(value));
    }
}

fn pod_term(term: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = set(term, name) {
            metadata::selector(selector, &path.child(name), errors);
        }
    }
    for name in list(term, "namespaces").iter().filter_map(Value::as_str) {
        // So it is called in Kubernetes.
        invalid(errors, &path.child("namespace"), name, names::dns1123_label(name));
    }
    let (keys, not_keys) = (list(term, "matchLabelKeys"), list(term, "mismatchLabelKeys"));
    let selector = set(term, "labelSelector");
    for name in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(list(term, name), selector, &path.child(name), errors);
    }
    // Here, too, Kubernetes counts from the term.
    told_twice(keys, selector, path, errors);
    let of_keys = path.child("matchLabelKeys");
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| not_keys.contains(key)) {
        let message = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&of_keys.index(index), key.clone(), message));
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
    }
    invalid(errors, &path.child("topologyKey"), key, names::qualified(key));
}

/// Keys of labels whose values are taken from the pod itself.
fn label_keys(keys: &[Value], selector: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    if keys.is_empty() {
        return;
    }
    if selector.is_none() {
        let message = "must not be specified when labelSelector is not set";
        errors.push(FieldError::forbidden(path, message));
        return;
    }
    for (index, key) in keys.iter().enumerate() {
        let key = key.as_str().unwrap_or_default();
        invalid(errors, &path.index(index), key, names::qualified(key));
    }
}

/// Keys that the selector speaks of by itself. What comes from the keys is in the selector already.
fn told_twice(keys: &[Value], selector: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    let Some(selector) = selector.filter(|_| !keys.is_empty()) else { return };
    let mut known: HashSet<&str> = entries(selector, "matchLabels").map(|(key, _)| key.as_str()).collect();
    for expression in list(selector, "matchExpressions") {
        let key = text(expression, "key");
        if let Some(index) = keys.iter().rposition(|one| one == key)
            && known.contains(key)
        {
            let message = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&path.index(index), key, message));
        }
        known.insert(key);
    }
}

/// How a pod's like are spread.
pub(super) fn spread(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let all = list(spec, "topologySpreadConstraints");
    let path = path.child("topologySpreadConstraints");
    for (index, constraint) in all.iter().enumerate() {
        let path = path.index(index);
        let skew = number(constraint, "maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.push(FieldError::invalid(&path.child("maxSkew"), skew, "must be greater than zero"));
        }
        let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.push(FieldError::required(&path.child("topologyKey"), "can not be empty"));
        }
        let actions = ["DoNotSchedule", "ScheduleAnyway"];
        if !actions.contains(&action) {
            errors.push(FieldError::not_supported(&path.child("whenUnsatisfiable"), action, &actions));
        }
        let again =
            |other: &Value| text(other, "topologyKey") == key && text(other, "whenUnsatisfiable") == action;
        if all[index + 1..].iter().any(again) {
            let value = format!("{{{key}, {action}}}");
            errors.push(FieldError::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), value));
        }
        if let Some(domains) = number(constraint, "minDomains") {
            let path = path.child("minDomains");
            if domains <= 0 {
                errors.push(FieldError::invalid(&path, domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let message =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(&path, domains, message));
            }
        }
        for name in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policies = ["Honor", "Ignore"];
            if let Some(policy) = set(constraint, name).and_then(Value::as_str)
                && !policies.contains(&policy)
            {
                errors.push(FieldError::not_supported(&path.child(name), policy, &policies));
            }
        }
        let selector = set(constraint, "labelSelector");
        let keys = list(constraint, "matchLabelKeys");
        let of_keys = path.child("matchLabelKeys");
        label_keys(keys, selector, &of_keys, errors);
        told_twice(keys, selector, &of_keys, errors);
        if let Some(selector) = selector {
            metadata::selector(selector, &path.child("labelSelector"), errors);
        }
    }
}

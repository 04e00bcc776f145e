//! When a Job has failed or succeeded before it is at its end, and when its pods are replaced.

use std::collections::HashSet;

use model::field::{FieldError, Path};
use model::names::qualified;
use model::validate::{Errors, invalid, list, not_negative, number, text};
use serde_json::Value;

use super::indexes;

const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
const MOST_PATTERNS: usize = 20;
const MOST_INDEX_BYTES: usize = 64 * 1024;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// Words in quotes between brackets, as Go prints a list of them.
fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| model::field::quote(word)).collect();
    format!("valid values: [{}]", words.join(" "))
}

/// One of a few words, which are told where there is none.
fn word(errors: &mut Errors, given: &str, allowed: &[&str], path: &Path<'_>) {
    if given.is_empty() {
        errors.push(FieldError::required(path, quoted(allowed)));
    } else if !allowed.contains(&given) {
        errors.push(FieldError::not_supported(path, given, allowed));
    }
}

/// A value of which Kubernetes shows nothing.
fn unshown(path: &Path<'_>, message: &str) -> FieldError {
    FieldError { value: None, ..FieldError::invalid(path, Value::Null, message) }
}

/// The policy of failures.
pub(super) fn failure(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let empty = Value::Null;
    let policy = spec.get("podFailurePolicy").unwrap_or(&empty);
    let path = path.child("podFailurePolicy");
    let of_rules = path.child("rules");
    let rules = list(policy, "rules");
    if rules.len() > MOST_RULES {
        errors.push(FieldError::too_many(&of_rules, rules.len(), MOST_RULES));
    }
    let pod = spec.pointer("/template/spec").unwrap_or(&empty);
    let containers = list(pod, "containers").iter().chain(list(pod, "initContainers"));
    let containers: HashSet<&str> = containers.map(|container| text(container, "name")).collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = of_rules.index(index);
        let action = text(rule, "action");
        if action == "FailIndex" && number(spec, "backoffLimitPerIndex").is_none() {
            let message = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(&path.child("action"), action, message));
        } else {
            word(errors, action, &ACTIONS, &path.child("action"));
        }
        let codes = rule.get("onExitCodes");
        if let Some(codes) = codes {
            exit_codes(codes, &containers, &path.child("onExitCodes"), errors);
        }
        let conditions = list(rule, "onPodConditions");
        pod_conditions(conditions, &path.child("onPodConditions"), errors);
        match (codes.is_some(), conditions.is_empty()) {
            (true, false) => {
                let message = "specifying both OnExitCodes and OnPodConditions is not supported";
                errors.push(unshown(&path, message));
            }
            (false, true) => {
                let message = "specifying one of OnExitCodes and OnPodConditions is required";
                errors.push(unshown(&path, message));
            }
            _ => {}
        }
    }
}

fn pod_conditions(conditions: &[Value], path: &Path<'_>, errors: &mut Errors) {
    if conditions.len() > MOST_PATTERNS {
        errors.push(FieldError::too_many(path, conditions.len(), MOST_PATTERNS));
    }
    for (index, pattern) in conditions.iter().enumerate() {
        let path = path.index(index);
        let kind = text(pattern, "type");
        invalid(errors, &path.child("type"), kind, qualified(kind));
        word(errors, text(pattern, "status"), &STATUSES, &path.child("status"));
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, path: &Path<'_>, errors: &mut Errors) {
    let operator = text(codes, "operator");
    word(errors, operator, &OPERATORS, &path.child("operator"));
    if let Some(name) = codes.get("containerName").and_then(Value::as_str)
        && !containers.contains(name)
    {
        let message = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(&path.child("containerName"), name, message));
    }
    let of_values = path.child("values");
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.push(FieldError::invalid(&of_values, values.clone(), "at least one value is required"));
    } else if values.len() > MOST_CODES {
        errors.push(FieldError::too_many(&of_values, values.len(), MOST_CODES));
    }
    let mut known = HashSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = of_values.index(index);
        if operator == "In" && *value == 0 {
            errors.push(FieldError::invalid(&path, 0, "must not be 0 for the In operator"));
        }
        if !known.insert(value) {
            errors.push(FieldError::duplicate(&path, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(&of_values, values, "must be ordered"));
    }
}

/// The policy of success.
pub(super) fn success(spec: &Value, policy: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of_rules = path.child("rules");
    let rules = list(policy, "rules");
    if rules.is_empty() {
        let message = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(&of_rules, message));
    }
    if rules.len() > MOST_RULES {
        errors.push(FieldError::too_many(&of_rules, rules.len(), MOST_RULES));
    }
    let completions = number(spec, "completions").unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        success_rule(rule, completions, &of_rules.index(index), errors);
    }
}

fn success_rule(rule: &Value, completions: i64, path: &Path<'_>, errors: &mut Errors) {
    let (count, named) =
        (number(rule, "succeededCount"), rule.get("succeededIndexes").and_then(Value::as_str));
    if count.is_none() && named.is_none() {
        let message = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, message));
    }
    let mut total = 0;
    if let Some(named) = named {
        let path = path.child("succeededIndexes");
        if named.len() > MOST_INDEX_BYTES {
            errors.push(FieldError::too_long(&path, MOST_INDEX_BYTES));
        }
        match indexes::parse(named, completions) {
            Ok((_, count)) => total = count,
            Err(error) => {
                let message = format!("error parsing succeededIndexes: {error}");
                errors.push(FieldError::invalid(&path, named, message));
            }
        }
    }
    let Some(count) = count else { return };
    not_negative(errors, rule, "succeededCount", path);
    let path = path.child("succeededCount");
    if count > completions {
        let message =
            format!("must be less than or equal to {completions} (the number of specified completions)");
        errors.push(FieldError::invalid(&path, count, message));
    }
    if named.is_some() && count > total {
        let message = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(&path, count, message));
    }
}

/// When a pod that goes is replaced.
pub(super) fn replacement(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = spec.get("podReplacementPolicy").and_then(Value::as_str) else { return };
    let path = path.child("podReplacementPolicy");
    let all = ["Failed", "TerminatingOrFailed"];
    let allowed = if spec.get("podFailurePolicy").is_some() { &all[..1] } else { &all[..] };
    if !allowed.contains(&policy) {
        errors.push(FieldError::not_supported(&path, policy, allowed));
    }
}

//! What Jobs and the templates of Jobs have in common.

pub(crate) mod indexes;
pub(crate) mod policies;

use model::default::{Fields, each, existing, unset};
use model::field::{FieldError, Path, quote};
use model::validate::{Errors, not_negative, number, text};
use serde_json::Value;

use crate::pod_spec;

/// So many pods of one with indexes may run at once.
const MOST_PARALLEL: i64 = 100_000;
/// So many indexes of one may fail.
const MOST_FAILED: i64 = 100_000;
/// With more completions than this, less may run and fail where failures are counted for each.
const MANY: i64 = 100_000;
const MOST_OF_MANY: i64 = 10_000;
const MANAGED_BY_BYTES: usize = 63;

/// What a rule of a failure policy leaves open.
pub(crate) fn policy_defaults(spec: &mut Fields) {
    let Some(policy) = existing(spec, "podFailurePolicy") else { return };
    for rule in each(policy, "rules") {
        for pattern in each(rule, "onPodConditions") {
            unset(pattern, "status", "True");
        }
    }
}

/// Whether pods have indexes.
pub(crate) fn is_indexed(spec: &Value) -> bool {
    text(spec, "completionMode") == "Indexed"
}

/// What is to be done, whether as a Job or as a template of one.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(errors, spec, name, path);
    }
    let per_index = number(spec, "backoffLimitPerIndex");
    if number(spec, "maxFailedIndexes").is_some() && per_index.is_none() {
        let path = path.child("backoffLimitPerIndex");
        errors.push(FieldError::required(&path, "when maxFailedIndexes is specified"));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        managed_by(manager, &path.child("managedBy"), errors);
    }
    mode(spec, path, errors);
    if spec.get("podFailurePolicy").is_some() {
        policies::failure(spec, path, errors);
    }
    if let Some(policy) = spec.get("successPolicy") {
        let of_policy = path.child("successPolicy");
        if is_indexed(spec) {
            policies::success(spec, policy, &of_policy, errors);
        } else {
            errors.push(FieldError::invalid(&of_policy, policy.clone(), "requires indexed completion mode"));
        }
    }
    policies::replacement(spec, path, errors);
    let empty = Value::Null;
    let template = spec.get("template").unwrap_or(&empty);
    let path = path.child("template");
    pod_spec::rules::template(template, &path, errors);
    let path = path.child("spec");
    let path = path.child("restartPolicy");
    match template.get("spec").map(|pod| text(pod, "restartPolicy")).unwrap_or_default() {
        "" | "Always" => {
            errors.push(FieldError::required(&path, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if spec.get("podFailurePolicy").is_some() => {
            let message = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(&path, "OnFailure", message));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(&path, other, &["OnFailure", "Never"])),
    }
}

fn managed_by(manager: &str, path: &Path<'_>, errors: &mut Errors) {
    if manager.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        match manager.split_once('/') {
            Some((domain, rest)) if !domain.is_empty() && !rest.is_empty() => {
                let messages = model::names::dns1123_subdomain(domain);
                model::validate::invalid(errors, path, domain, messages);
                let fits = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@%/".contains(c);
                if !rest.chars().all(fits) {
                    let message = format!(
                        "Invalid path (regex used for validation is {})",
                        quote("[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+")
                    );
                    errors.push(FieldError::invalid(path, rest, message));
                }
            }
            _ => {
                let message = "must be a domain-prefixed path (such as \"acme.io/foo\")";
                errors.push(FieldError::invalid(path, manager, message));
            }
        }
    }
    if manager.len() > MANAGED_BY_BYTES {
        errors.push(FieldError::too_long(path, MANAGED_BY_BYTES));
    }
}

fn mode(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mode = text(spec, "completionMode");
    let (parallelism, completions) = (number(spec, "parallelism"), number(spec, "completions"));
    let (per_index, failed) = (number(spec, "backoffLimitPerIndex"), number(spec, "maxFailedIndexes"));
    let mut refuse = |name: &str, value: i64, message: String| {
        errors.push(FieldError::invalid(&path.child(name), value, message));
    };
    match mode {
        "Indexed" => {
            if let Some(parallelism) = parallelism.filter(|most| *most > MOST_PARALLEL) {
                let message =
                    format!("must be less than or equal to {MOST_PARALLEL} when completion mode is Indexed");
                refuse("parallelism", parallelism, message);
            }
            if let (Some(failed), Some(completions)) = (failed, completions)
                && failed > completions
            {
                refuse("maxFailedIndexes", failed, "must be less than or equal to completions".to_owned());
            }
            if let Some(failed) = failed.filter(|failed| *failed > MOST_FAILED) {
                refuse("maxFailedIndexes", failed, format!("must be less than or equal to {MOST_FAILED}"));
            }
            if per_index.is_some() && completions.is_some_and(|completions| completions > MANY) {
                let message = format!(
                    "must be less than or equal to {MOST_OF_MANY} when completions are above {MANY} and used with \
                     backoff limit per index"
                );
                for (name, value) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
                    if let Some(value) = value.filter(|value| *value > MOST_OF_MANY) {
                        refuse(name, value, message.clone());
                    }
                }
                if failed.is_none() {
                    let message = format!("must be specified when completions is above {MANY}");
                    errors.push(FieldError::required(&path.child("maxFailedIndexes"), message));
                }
            }
            if completions.is_none() {
                errors.push(FieldError::required(
                    &path.child("completions"),
                    "when completion mode is Indexed",
                ));
            }
        }
        "" | "NonIndexed" => {
            let message = "requires indexed completion mode";
            for (name, value) in [("backoffLimitPerIndex", per_index), ("maxFailedIndexes", failed)] {
                if let Some(value) = value {
                    refuse(name, value, message.to_owned());
                }
            }
        }
        other => {
            let path = path.child("completionMode");
            errors.push(FieldError::not_supported(&path, other, &["Indexed", "NonIndexed"]));
        }
    }
}

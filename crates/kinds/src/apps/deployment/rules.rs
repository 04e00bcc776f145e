//! Rules of Deployment.

use serde_json::Value;

use model::validate::{Errors, not_negative, number, one_of, text};

use crate::workload::rules as workload;
use model::Object;
use model::field::{FieldError, Path};

const STRATEGIES: [&str; 2] = ["Recreate", "RollingUpdate"];

pub(crate) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    not_negative(errors, spec, "replicas", &path);
    workload::selector(spec, &path, errors);
    workload::template(spec, &path, errors);
    strategy(spec, &path, errors);
    not_negative(errors, spec, "minReadySeconds", &path);
    not_negative(errors, spec, "revisionHistoryLimit", &path);
    not_negative(errors, spec, "progressDeadlineSeconds", &path);
    if let Some(deadline) = number(spec, "progressDeadlineSeconds")
        && deadline <= number(spec, "minReadySeconds").unwrap_or_default()
    {
        let message = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(&path.child("progressDeadlineSeconds"), deadline, message));
    }
}

pub(crate) fn status(object: &Object, old: &Object, errors: &mut Errors) {
    workload::status(object, errors);
    let count = |object: &Object| object.get_i64(&["status", "collisionCount"]);
    if let Some(before) = count(old)
        && count(object).is_none_or(|count| count < before)
    {
        let path = Path::root("status");
        let value = count(object).map_or(Value::Null, Value::from);
        errors.push(FieldError::invalid(&path.child("collisionCount"), value, "cannot be decremented"));
    }
}

pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    workload::selector_change(object, old, errors);
}

fn strategy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(strategy) = spec.get("strategy") else { return };
    let path = path.child("strategy");
    one_of(errors, strategy, "type", &path, &STRATEGIES);
    let rolling = strategy.get("rollingUpdate");
    let path = path.child("rollingUpdate");
    match (text(strategy, "type"), rolling) {
        ("Recreate", Some(_)) => {
            let message = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&path, message));
        }
        ("RollingUpdate", None) => {
            errors.push(FieldError::required(&path, "this should be defaulted and never be nil"));
        }
        ("RollingUpdate", Some(rolling)) => {
            let unavailable = amount(rolling, "maxUnavailable", &path, errors);
            let surge = amount(rolling, "maxSurge", &path, errors);
            if unavailable == Some(0) && surge == Some(0) {
                let value = rolling.get("maxUnavailable").cloned().unwrap_or(Value::Null);
                let message = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&path.child("maxUnavailable"), value, message));
            }
            if unavailable > Some(100) && rolling["maxUnavailable"].is_string() {
                let value = rolling["maxUnavailable"].clone();
                errors.push(FieldError::invalid(
                    &path.child("maxUnavailable"),
                    value,
                    "must not be greater than 100%",
                ));
            }
        }
        _ => {}
    }
}

/// A number of pods or a percentage of them.
fn amount(rolling: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) -> Option<i64> {
    let path = path.child(name);
    match rolling.get(name)? {
        Value::String(text) => {
            let percent = text
                .strip_suffix('%')
                .filter(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
            if percent.is_none() {
                let message = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  \
                               or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(&path, text.as_str(), message));
            }
            percent?.parse().ok()
        }
        number => {
            let number = number.as_i64()?;
            if number < 0 {
                errors.push(FieldError::invalid(&path, number, "must be greater than or equal to 0"));
            }
            Some(number)
        }
    }
}

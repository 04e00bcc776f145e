//! Rules of Deployment.

use serde_json::Value;

use model::validate::{Errors, not_negative, number, one_of, text};

use crate::workload::{rules as workload, share};
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
            let (unavailable, surge) = (path.child("maxUnavailable"), path.child("maxSurge"));
            let amount = |name: &str| rolling.get(name).unwrap_or(&Value::Null);
            share::positive(amount("maxUnavailable"), &unavailable, errors);
            share::positive(amount("maxSurge"), &surge, errors);
            let is_nothing = |name: &str| share::is_nothing(rolling.get(name));
            if is_nothing("maxUnavailable") && is_nothing("maxSurge") {
                let message = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&unavailable, amount("maxUnavailable").clone(), message));
            }
            share::at_most_all(amount("maxUnavailable"), &unavailable, errors);
        }
        _ => {}
    }
}

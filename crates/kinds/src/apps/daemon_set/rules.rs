//! Rules of DaemonSet.

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, metadata, not_negative, text};
use serde_json::{Value, json};

use crate::pod_spec;
use crate::workload::rules::{counts, only_always, selector_change, selects_template, template_labels};
use crate::workload::share::{at_most_all, is_nothing, positive};

const STRATEGIES: [&str; 2] = ["OnDelete", "RollingUpdate"];

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let of_selector = path.child("selector");
    if let Some(selector) = spec.get("selector") {
        metadata::selector(selector, &of_selector, errors);
    }
    let of_template = path.child("template");
    let template = spec.get("template").unwrap_or(&empty);
    if !selects_template(spec) {
        template_labels(template, &of_template, errors);
    }
    if let Some(selector) = spec.get("selector").filter(|selector| crate::workload::rules::is_empty(selector))
    {
        let message = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid(&of_selector, selector.clone(), message));
    }
    pod_spec::rules::template(template, &of_template, errors);
    only_always(template, "DaemonSet", &of_template, errors);
    not_negative(errors, spec, "minReadySeconds", &path);
    strategy(spec, &path, errors);
    not_negative(errors, spec, "revisionHistoryLimit", &path);
}

fn strategy(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let empty = Value::Null;
    let strategy = spec.get("updateStrategy").unwrap_or(&empty);
    let path = path.child("updateStrategy");
    let rolling = path.child("rollingUpdate");
    match (text(strategy, "type"), strategy.get("rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.push(FieldError::required(&rolling, "")),
        ("RollingUpdate", Some(update)) => {
            let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
            let amount = |name: &str| update.get(name).unwrap_or(&empty);
            positive(amount("maxUnavailable"), &unavailable, errors);
            positive(amount("maxSurge"), &surge, errors);
            at_most_all(amount("maxUnavailable"), &unavailable, errors);
            at_most_all(amount("maxSurge"), &surge, errors);
            match (is_nothing(update.get("maxUnavailable")), is_nothing(update.get("maxSurge"))) {
                (false, false) => {
                    let message = "may not be set when maxUnavailable is non-zero";
                    errors.push(FieldError::invalid(&surge, amount("maxSurge").clone(), message));
                }
                (true, true) => {
                    errors.push(FieldError::required(&unavailable, "cannot be 0 when maxSurge is 0"));
                }
                _ => {}
            }
        }
        (other, update) => {
            let shown = json!({"Type": other, "RollingUpdate": update});
            let allowed = [STRATEGIES[1], STRATEGIES[0]];
            errors.push(FieldError::not_supported(&path, shown, &allowed));
        }
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    selector_change(object, old, errors);
}

pub(super) fn status(object: &Object, old: &Object, errors: &mut Errors) {
    const COUNTS: [&str; 9] = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counts(object, old, &COUNTS, errors);
}

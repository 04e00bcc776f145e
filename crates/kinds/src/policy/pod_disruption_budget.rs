//! PodDisruptionBudgets: how many of some pods may be missing on purpose.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer, text};
use base::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use model::Object;
use model::default::{Fields, inside, missing};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, metadata, not_negative};
use serde_json::{Value, json};

use crate::conditions;
use crate::workload::Workload;
use crate::workload::share::{at_most_all, positive};

const POLICIES: [&str; 2] = ["AlwaysAllow", "IfHealthyBudget"];
const COUNTS: [&str; 4] = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];

pub(crate) fn resource() -> Resource {
    Resource::of::<PodDisruptionBudget>()
        .short(&["pdb"])
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).status(status))
        .columns(COLUMNS, cells)
        .strategy(Workload { kept_by_status: &[&["spec"]] })
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Min Available", "How many pods have to be there."),
    text("Max Unavailable", "How many pods may be missing."),
    integer("Allowed Disruptions", "How many may be evicted now."),
    AGE,
];

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
    let status = inside(fields, "status");
    for name in COUNTS {
        missing(status, name, 0);
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    let (available, unavailable) = (spec.get("minAvailable"), spec.get("maxUnavailable"));
    if available.is_some() && unavailable.is_some() {
        // The spec as Kubernetes has it inside.
        let shown = json!({
            "MinAvailable": available,
            "Selector": spec.get("selector"),
            "MaxUnavailable": unavailable,
            "UnhealthyPodEvictionPolicy": spec.get("unhealthyPodEvictionPolicy"),
        });
        let message = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&path, shown, message));
    }
    for (name, share) in [("minAvailable", available), ("maxUnavailable", unavailable)] {
        let Some(share) = share else { continue };
        positive(share, &path.child(name), errors);
        at_most_all(share, &path.child(name), errors);
    }
    if let Some(selector) = spec.get("selector") {
        metadata::selector(selector, &path.child("selector"), errors);
    }
    if let Some(policy) = spec.get("unhealthyPodEvictionPolicy").and_then(Value::as_str)
        && !POLICIES.contains(&policy)
    {
        let path = path.child("unhealthyPodEvictionPolicy");
        errors.push(FieldError::not_supported(&path, policy, &POLICIES));
    }
}

fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let path = Path::root("status");
    conditions::all(status, &path, errors);
    for name in COUNTS {
        not_negative(errors, status, name, &path);
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let share = |name: &str| match object.get(&["spec", name]) {
        Some(Value::String(text)) => Value::from(text.as_str()),
        Some(number) => Value::from(number.to_string()),
        None => "N/A".into(),
    };
    vec![
        object.name().into(),
        share("minAvailable"),
        share("maxUnavailable"),
        object.get_i64(&["status", "disruptionsAllowed"]).unwrap_or_default().into(),
        age(object, now),
    ]
}

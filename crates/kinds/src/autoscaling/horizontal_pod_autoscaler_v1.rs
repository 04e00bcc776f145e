//! HorizontalPodAutoscalers in autoscaling/v1. They are stored as those of autoscaling/v2.

use apiserver::Resource;
use base::Timestamp;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use model::Object;
use model::default::{Fields, inside, missing};
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::autoscaler::conversion::{conversion, to_stored};
use crate::autoscaler::{Autoscalers, columns, rules};

pub(crate) fn resource() -> Resource {
    Resource::of::<HorizontalPodAutoscaler>()
        .short(&["hpa"])
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Functions::of(object).change(change).status(rules::status))
        .columns(columns::COLUMNS, cells)
        .stored_as(conversion())
        .strategy(Autoscalers)
}

fn defaults(fields: &mut Fields) {
    missing(inside(fields, "spec"), "minReplicas", 1);
    let status = inside(fields, "status");
    missing(status, "currentReplicas", 0);
    missing(status, "desiredReplicas", 0);
}

/// The same in the version that has all fields, of which Kubernetes asks its rules.
fn stored(object: &Object) -> Object {
    let mut stored = object.clone();
    to_stored(&mut stored);
    stored
}

fn object(object: &Object, errors: &mut Errors) {
    rules::object(&stored(object), errors);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    rules::change(&stored(object), &stored(old), errors);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    columns::cells(&stored(object), now)
}

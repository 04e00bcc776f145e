//! HorizontalPodAutoscalers in autoscaling/v1. They are stored as those of autoscaling/v2.

use std::borrow::Cow;

use apiserver::Resource;
use base::Timestamp;
use k8s_openapi::api::autoscaling::v1::HorizontalPodAutoscaler;
use model::Object;
use model::default::{Fields, inside, missing};
use serde_json::Value;

use crate::autoscaler::conversion::{conversion, to_stored};
use crate::autoscaler::rules::Autoscaling;
use crate::autoscaler::{Autoscalers, columns};
use crate::features::Features;

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<HorizontalPodAutoscaler>()
        .short(&["hpa"])
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Autoscaling::new(features, stored))
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

/// The same in the version that has all fields.
fn stored(object: &Object) -> Cow<'_, Object> {
    let mut stored = object.clone();
    to_stored(&mut stored);
    Cow::Owned(stored)
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    columns::cells(&stored(object), now)
}

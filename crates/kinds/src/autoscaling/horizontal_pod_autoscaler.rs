//! HorizontalPodAutoscalers in autoscaling/v2, which is the version that is stored.

use std::borrow::Cow;

use apiserver::Resource;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use model::default::{Fields, existing, inside, missing};
use serde_json::{Value, json};

use crate::autoscaler::conversion::{conversion, default_metrics};
use crate::autoscaler::rules::Autoscaling;
use crate::autoscaler::{Autoscalers, columns};
use crate::features::Features;

pub(crate) fn resource(features: &Features) -> Resource {
    Resource::of::<HorizontalPodAutoscaler>()
        .short(&["hpa"])
        .category("all")
        .status()
        .defaults(defaults)
        .rules(Autoscaling::new(features, |object| Cow::Borrowed(object)))
        .columns(columns::COLUMNS, columns::cells)
        .stored_as(conversion())
        .strategy(Autoscalers)
}

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    missing(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("metrics".into(), default_metrics());
    }
    if let Some(behavior) = existing(spec, "behavior") {
        let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let some = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = inside(behavior, "scaleUp");
        missing(up, "stabilizationWindowSeconds", 0);
        missing(up, "selectPolicy", "Max");
        missing(up, "policies", json!([some, all]));
        let down = inside(behavior, "scaleDown");
        missing(down, "selectPolicy", "Max");
        missing(down, "policies", json!([all]));
    }
    missing(inside(fields, "status"), "desiredReplicas", 0);
}

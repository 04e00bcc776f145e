//! From autoscaling/v1 to autoscaling/v2 and back.

use apiserver::resource::Conversion;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use model::{GroupVersionKind, Object};
use serde_json::{Map, Value, json};

/// What autoscaling/v1 has no fields for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// How much of their processors pods are to use where nothing is said.
const PROCESSOR_PERCENT: i64 = 80;

/// autoscaling/v2 is stored.
pub(crate) fn conversion() -> Conversion {
    Conversion::functions(GroupVersionKind::of::<HorizontalPodAutoscaler>(), to_stored, from_stored)
}

/// What is measured where nothing is said.
pub(crate) fn default_metrics() -> Value {
    json!([processors(PROCESSOR_PERCENT.into())])
}

fn processors(percent: Value) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

pub(crate) fn to_stored(object: &mut Object) {
    object.set(&["apiVersion"], "autoscaling/v2");
    let mut metrics = Vec::new();
    if let Some(percent) = object.remove(&["spec", "targetCPUUtilizationPercentage"]) {
        metrics.push(processors(percent));
    }
    if let Some(Value::Array(others)) = annotation(object, METRICS) {
        metrics.extend(others.iter().map(|metric| spec(metric, Way::ToStored)));
    }
    if metrics.is_empty() {
        metrics.push(processors(PROCESSOR_PERCENT.into()));
    }
    object.set(&["spec", "metrics"], metrics);
    if let Some(behavior) = annotation(object, BEHAVIOR) {
        object.set(&["spec", "behavior"], behavior);
    }
    let percent = object.remove(&["status", "currentCPUUtilizationPercentage"]);
    let current = annotation(object, CURRENT).and_then(|current| match current {
        Value::Array(current) => Some(current.iter().map(|metric| status(metric, Way::ToStored)).collect()),
        _ => None,
    });
    let current: Option<Vec<Value>> = current.or_else(|| {
        let current = json!({"averageUtilization": percent?});
        Some(vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": current}})])
    });
    if let Some(current) = current {
        object.set(&["status", "currentMetrics"], current);
    }
    if let Some(conditions) = annotation(object, CONDITIONS) {
        object.set(&["status", "conditions"], conditions);
    }
    for name in [METRICS, CURRENT, CONDITIONS, BEHAVIOR] {
        object.remove(&["metadata", "annotations", name]);
    }
    if object.annotations().is_empty() {
        object.remove(&["metadata", "annotations"]);
    }
}

pub(crate) fn from_stored(object: &mut Object) {
    object.set(&["apiVersion"], "autoscaling/v1");
    let list = |value: Option<Value>| match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let metrics = list(object.remove(&["spec", "metrics"]));
    let is_processors = |metric: &Value| metric["type"] == "Resource" && metric["resource"]["name"] == "cpu";
    let percent = |metric: &Value| metric.pointer("/resource/target/averageUtilization").cloned();
    if let Some(percent) = metrics.iter().find(|metric| is_processors(metric)).and_then(percent) {
        object.set(&["spec", "targetCPUUtilizationPercentage"], percent);
    }
    let others = metrics.iter().filter(|metric| !is_processors(metric) || percent(metric).is_none());
    let others: Vec<Value> = others.map(|metric| spec(metric, Way::FromStored)).collect();
    annotate(object, METRICS, others.into());
    if let Some(behavior) = object.remove(&["spec", "behavior"]) {
        annotate(object, BEHAVIOR, behavior);
    }
    let current = list(object.remove(&["status", "currentMetrics"]));
    let used = current.iter().filter(|metric| is_processors(metric));
    if let Some(percent) =
        used.filter_map(|metric| metric.pointer("/resource/current/averageUtilization")).next_back()
    {
        object.set(&["status", "currentCPUUtilizationPercentage"], percent.clone());
    }
    let current: Vec<Value> = current.iter().map(|metric| status(metric, Way::FromStored)).collect();
    annotate(object, CURRENT, current.into());
    let conditions = list(object.remove(&["status", "conditions"]));
    annotate(object, CONDITIONS, conditions.into());
}

/// What an annotation holds; one that holds nothing sensible is as good as none.
fn annotation(object: &Object, name: &str) -> Option<Value> {
    serde_json::from_str(object.annotation(name)?).ok()
}

/// Keeps what is not empty.
fn annotate(object: &mut Object, name: &str, value: Value) {
    let is_empty = match &value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => true,
    };
    if !is_empty {
        object.set_annotation(name, &value.to_string());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToStored,
    FromStored,
}

/// Where a field is in autoscaling/v1 and in autoscaling/v2, below the kind of the metric.
type Places = &'static [(&'static str, &'static str)];

const IDENTITY: (Places, Places) = (
    &[("metricName", "/metric/name"), ("selector", "/metric/selector")],
    &[("metricName", "/metric/name"), ("metricSelector", "/metric/selector")],
);

/// The fields of each kind of metric: what it is, what is wanted, what there is.
const KINDS: [(&str, Places, Places, Places); 5] = [
    (
        "object",
        &[("target", "/describedObject"), IDENTITY.0[0], IDENTITY.0[1]],
        &[("targetValue", "/target/value"), ("averageValue", "/target/averageValue")],
        &[("currentValue", "/current/value"), ("averageValue", "/current/averageValue")],
    ),
    (
        "pods",
        IDENTITY.0,
        &[("targetAverageValue", "/target/averageValue")],
        &[("currentAverageValue", "/current/averageValue")],
    ),
    ("resource", &[("name", "/name")], OF_RESOURCE.0, OF_RESOURCE.1),
    ("containerResource", &[("name", "/name"), ("container", "/container")], OF_RESOURCE.0, OF_RESOURCE.1),
    (
        "external",
        IDENTITY.1,
        &[("targetValue", "/target/value"), ("targetAverageValue", "/target/averageValue")],
        &[("currentValue", "/current/value"), ("currentAverageValue", "/current/averageValue")],
    ),
];

const OF_RESOURCE: (Places, Places) = (
    &[
        ("targetAverageUtilization", "/target/averageUtilization"),
        ("targetAverageValue", "/target/averageValue"),
    ],
    &[
        ("currentAverageUtilization", "/current/averageUtilization"),
        ("currentAverageValue", "/current/averageValue"),
    ],
);

fn spec(metric: &Value, way: Way) -> Value {
    let mut converted = convert(metric, way, |(_, identity, wanted, _)| [identity, wanted]);
    if way == Way::ToStored {
        for (kind, ..) in KINDS {
            let Some(target) = converted.get_mut(kind).map(|source| &mut source["target"]) else { continue };
            let has = |name: &str| target.get(name).is_some();
            let what = match (has("averageUtilization"), has("averageValue")) {
                (true, _) => "Utilization",
                (false, true) => "AverageValue",
                (false, false) => "Value",
            };
            if target.is_object() {
                target["type"] = what.into();
            }
        }
    }
    converted
}

fn status(metric: &Value, way: Way) -> Value {
    convert(metric, way, |(_, identity, _, current)| [identity, current])
}

fn convert(
    metric: &Value,
    way: Way,
    places: impl Fn((&'static str, Places, Places, Places)) -> [Places; 2],
) -> Value {
    let mut converted = Map::new();
    if let Some(kind) = metric.get("type") {
        converted.insert("type".to_owned(), kind.clone());
    }
    for kind in KINDS {
        let Some(from) = metric.get(kind.0).filter(|source| source.is_object()) else { continue };
        let mut to = Value::Object(Map::new());
        for (older, newer) in places(kind).into_iter().flatten() {
            match way {
                Way::ToStored => {
                    if let Some(value) = from.get(older) {
                        put(&mut to, newer, value.clone());
                    }
                }
                Way::FromStored => {
                    if let Some(value) = from.pointer(newer) {
                        to[*older] = value.clone();
                    }
                }
            }
        }
        converted.insert(kind.0.to_owned(), to);
    }
    converted.into()
}

/// Puts a value where a pointer says, and makes what is on the way.
fn put(to: &mut Value, pointer: &str, value: Value) {
    let mut place = to;
    for part in pointer.split('/').filter(|part| !part.is_empty()) {
        place = &mut place[part];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn autoscaler(version: &str, spec: Value) -> Object {
        let object = json!({
            "apiVersion": version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": spec,
        });
        Object::from_value(object).expect("an object")
    }

    #[test]
    fn an_autoscaler_is_the_same_after_going_there_and_back() {
        let reference = json!({"kind": "Service", "name": "s"});
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"describedObject": reference, "metric": {"name": "hits"},
                "target": {"type": "Value", "value": "7"}}},
            {"type": "External", "external": {"metric": {"name": "queue", "selector": {"matchLabels": {"c": "d"}}},
                "target": {"type": "Value", "value": "3"}}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 50}}},
        ]);
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 5}});
        let stored =
            autoscaler("autoscaling/v2", json!({"maxReplicas": 3, "metrics": metrics, "behavior": behavior}));
        let mut object = stored.clone();
        from_stored(&mut object);
        assert_eq!(object.get_i64(&["spec", "targetCPUUtilizationPercentage"]), Some(60));
        let others: Value = serde_json::from_str(object.annotation(METRICS).expect("others")).expect("JSON");
        assert_eq!(
            others[0],
            json!({"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1Gi"}})
        );
        assert_eq!(
            others[2]["object"],
            json!({"target": reference, "metricName": "hits", "targetValue": "7"})
        );
        assert_eq!(others[3]["external"]["metricSelector"]["matchLabels"]["c"], "d");
        to_stored(&mut object);
        let sorted = |object: &Object| object.get(&["spec"]).cloned();
        assert_eq!(sorted(&object), sorted(&stored));
        assert!(object.annotations().is_empty(), "{object:?}");
    }

    #[test]
    fn where_nothing_is_said_processors_are_measured() {
        let mut object = autoscaler("autoscaling/v1", json!({"maxReplicas": 3}));
        to_stored(&mut object);
        assert_eq!(object.get(&["spec", "metrics"]), Some(&default_metrics()));
        from_stored(&mut object);
        assert_eq!(object.get_i64(&["spec", "targetCPUUtilizationPercentage"]), Some(80));
        assert_eq!(object.annotation(METRICS), None);
    }
}

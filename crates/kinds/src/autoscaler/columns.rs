//! Columns of autoscalers.

use apiserver::table::{AGE, Column, NAME, NONE, UNKNOWN, age, integer, text};
use base::Timestamp;
use model::{Object, Quantity};
use serde_json::Value;

pub(crate) const COLUMNS: &[Column] = &[
    NAME,
    text("Reference", "What it scales."),
    text("Targets", "What is measured: what there is, and what there is to be."),
    text("MinPods", "The least number of pods."),
    text("MaxPods", "The greatest number of pods."),
    integer("Replicas", "How many pods there are."),
    AGE,
];

/// So many metrics are shown.
const SHOWN: usize = 2;

pub(crate) fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let target = |name: &str| object.get_str(&["spec", "scaleTargetRef", name]).unwrap_or_default();
    let count = |name: &str| object.get_i64(&["spec", name]);
    vec![
        object.name().into(),
        format!("{}/{}", target("kind"), target("name")).into(),
        metrics(object).into(),
        count("minReplicas").map_or("<unset>".to_owned(), |count| count.to_string()).into(),
        count("maxReplicas").unwrap_or_default().to_string().into(),
        object.get_i64(&["status", "currentReplicas"]).unwrap_or_default().into(),
        age(object, now),
    ]
}

fn metrics(object: &Object) -> String {
    let specs = object.get_list(&["spec", "metrics"]);
    let current = object.get_list(&["status", "currentMetrics"]);
    if specs.is_empty() {
        return NONE.to_owned();
    }
    let shown = specs.iter().take(SHOWN).enumerate();
    let shown: Vec<String> = shown.map(|(index, spec)| metric(spec, current.get(index))).collect();
    let shown = shown.join(", ");
    match specs.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("{shown} + {more} more..."),
        None => shown,
    }
}

fn metric(spec: &Value, status: Option<&Value>) -> String {
    let kind = match spec["type"].as_str() {
        Some("External") => "external",
        Some("Pods") => "pods",
        Some("Object") => "object",
        Some("Resource") => "resource",
        Some("ContainerResource") => "containerResource",
        _ => return "<unknown type>".to_owned(),
    };
    let (source, target) = (&spec[kind], &spec[kind]["target"]);
    let current = |name: &str| status.and_then(|status| status[kind]["current"].get(name));
    let amount = |value: Option<&Value>| {
        value.and_then(Quantity::from_json).map_or(UNKNOWN.to_owned(), |amount| amount.to_string())
    };
    let percent = |value: Option<&Value>, otherwise: &str| {
        value.and_then(Value::as_i64).map_or(otherwise.to_owned(), |percent| format!("{percent}%"))
    };
    let average = target.get("averageValue");
    let of_resource = matches!(kind, "resource" | "containerResource");
    let pair = match average {
        Some(_) => format!("{}/{}", amount(current("averageValue")), amount(average)),
        None if of_resource => format!(
            "{}/{}",
            percent(current("averageUtilization"), UNKNOWN),
            percent(target.get("averageUtilization"), "<auto>")
        ),
        None => format!("{}/{}", amount(current("value")), amount(target.get("value"))),
    };
    match (of_resource, average, kind) {
        (true, ..) => format!("{}: {pair}", source["name"].as_str().unwrap_or_default()),
        (false, Some(_), "external" | "object") => format!("{pair} (avg)"),
        _ => pair,
    }
}

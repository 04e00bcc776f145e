//! Columns of Deployment and ReplicaSet.

use base::Timestamp;
use model::Object;
use model::select::LabelSelector;
use serde_json::Value;

use super::{AGE, Column, NAME, NONE, age, integer, text, wide};

pub(super) const DEPLOYMENT: &[Column] = &[
    NAME,
    text("Ready", "How many of the wanted pods are ready."),
    text("Up-to-date", "How many pods are of the newest template."),
    text("Available", "How many pods have been ready for long enough."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];
pub(super) const REPLICA_SET: &[Column] = &[
    NAME,
    integer("Desired", "How many pods are wanted."),
    integer("Current", "How many pods there are."),
    integer("Ready", "How many pods are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

const CONTAINERS: Column = wide("Containers", "The containers of the template.");
const IMAGES: Column = wide("Images", "The images of the template's containers.");
const SELECTOR: Column = wide("Selector", "The labels of its pods.");

pub(super) fn deployment(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    let wanted = object.get_i64(&["spec", "replicas"]).unwrap_or_default();
    let mut cells = vec![
        object.name().into(),
        format!("{}/{wanted}", status("readyReplicas")).into(),
        status("updatedReplicas").into(),
        status("availableReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object));
    cells
}

pub(super) fn replica_set(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    let mut cells = vec![
        object.name().into(),
        object.get_i64(&["spec", "replicas"]).unwrap_or_default().into(),
        status("replicas").into(),
        status("readyReplicas").into(),
        age(object, now),
    ];
    cells.extend(template(object));
    cells
}

fn template(object: &Object) -> [Value; 3] {
    let containers = object.get_list(&["spec", "template", "spec", "containers"]);
    let join = |name: &str| {
        let all: Vec<&str> = containers.iter().map(|one| one[name].as_str().unwrap_or_default()).collect();
        all.join(",")
    };
    let selector = LabelSelector::from_json(object.get(&["spec", "selector"]))
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    let selector = if selector.is_empty() { NONE.to_owned() } else { selector };
    [join("name").into(), join("image").into(), selector.into()]
}

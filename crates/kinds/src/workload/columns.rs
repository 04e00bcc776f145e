//! Columns of workloads: what their template holds.

use apiserver::table::{AGE, Column, NAME, age, integer, wide};
use base::Timestamp;
use model::Object;
use serde_json::Value;

use crate::shown::selector;

pub(crate) const CONTAINERS: Column = wide("Containers", "The containers of the template.");
pub(crate) const IMAGES: Column = wide("Images", "The images of the template's containers.");
pub(crate) const SELECTOR: Column = wide("Selector", "The labels of its pods.");

/// The columns of what keeps a number of pods.
pub(crate) const REPLICAS: &[Column] = &[
    NAME,
    integer("Desired", "How many pods are wanted."),
    integer("Current", "How many pods there are."),
    integer("Ready", "How many pods are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    SELECTOR,
];

/// The cells of [`REPLICAS`], but for those of its template.
pub(crate) fn replicas(object: &Object, now: Timestamp) -> Vec<Value> {
    let status = |name: &str| object.get_i64(&["status", name]).unwrap_or_default();
    vec![
        object.name().into(),
        object.get_i64(&["spec", "replicas"]).unwrap_or_default().into(),
        status("replicas").into(),
        status("readyReplicas").into(),
        age(object, now),
    ]
}

/// The cells of these three columns.
pub(crate) fn template(object: &Object) -> [Value; 3] {
    let [names, images] = names_and_images(object.get_list(&["spec", "template", "spec", "containers"]));
    [names, images, selector(object.get(&["spec", "selector"])).into()]
}

/// The names of containers, and their images.
pub(crate) fn names_and_images(containers: &[Value]) -> [Value; 2] {
    ["name", "image"].map(|field| {
        let all: Vec<&str> = containers.iter().map(|one| one[field].as_str().unwrap_or_default()).collect();
        all.join(",").into()
    })
}

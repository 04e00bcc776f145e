//! Columns of workloads: what their template holds.

use apiserver::table::{Column, wide};
use model::Object;
use serde_json::Value;

use crate::shown::selector;

pub(crate) const CONTAINERS: Column = wide("Containers", "The containers of the template.");
pub(crate) const IMAGES: Column = wide("Images", "The images of the template's containers.");
pub(crate) const SELECTOR: Column = wide("Selector", "The labels of its pods.");

/// The cells of these three columns.
pub(crate) fn template(object: &Object) -> [Value; 3] {
    let containers = object.get_list(&["spec", "template", "spec", "containers"]);
    let join = |name: &str| {
        let all: Vec<&str> = containers.iter().map(|one| one[name].as_str().unwrap_or_default()).collect();
        all.join(",")
    };
    [join("name").into(), join("image").into(), selector(object.get(&["spec", "selector"])).into()]
}

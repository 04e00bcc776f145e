//! Columns of workloads: what their template holds.

use apiserver::table::{Column, NONE, wide};
use model::Object;
use model::select::LabelSelector;
use serde_json::Value;

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
    let selector = LabelSelector::from_json(object.get(&["spec", "selector"]))
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    let selector = if selector.is_empty() { NONE.to_owned() } else { selector };
    [join("name").into(), join("image").into(), selector.into()]
}

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
    let [names, images] = names_and_images(object.get_list(&["spec", "template", "spec", "containers"]));
    let selector = LabelSelector::from_json(object.get(&["spec", "selector"]))
        .map(|selector| selector.to_string())
        .unwrap_or_default();
    let selector = if selector.is_empty() { NONE.to_owned() } else { selector };
    [names, images, selector.into()]
}

/// The names of containers, and their images.
pub(crate) fn names_and_images(containers: &[Value]) -> [Value; 2] {
    ["name", "image"].map(|field| {
        let all: Vec<&str> = containers.iter().map(|one| one[field].as_str().unwrap_or_default()).collect();
        all.join(",").into()
    })
}

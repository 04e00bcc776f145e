//! A pod that is at a node knows by its labels in which zone and region that is.

use apiserver::{Admission, Admitting, Context, Write, at_once};
use model::{GroupResource, Object};

/// Gives pods the labels of their node's place.
pub(super) struct PodTopologyLabels;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

impl Admission for PodTopologyLabels {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        let resource = write.context.resource();
        let is_pod = resource.group.is_empty() && resource.plural == "pods";
        if is_pod && (write.makes("", "pods") || write.subresource == "binding") {
            label(&write.context, object);
        }
        at_once(Ok(()))
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn label(context: &Context<'_>, pod: &mut Object) {
    let Some(name) = pod.get_str(&["spec", "nodeName"]).filter(|name| !name.is_empty()) else { return };
    let Some(node) = context.find(&GroupResource::new("", "nodes"), "", name) else { return };
    for label in LABELS {
        if let Some(value) = node.label(label) {
            pod.set_label(label, value);
        }
    }
}

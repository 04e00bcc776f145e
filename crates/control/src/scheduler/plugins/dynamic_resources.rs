//! Devices that pods claim.

use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes from which a device that the pod's claims have cannot be reached, or where none are found for those
/// that have none; refuses a pod whose claims are not there yet, or cannot be decided about.
pub(super) struct DynamicResources;

impl Filter for DynamicResources {
    fn name(&self) -> &'static str {
        "DynamicResources"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_LABELS | News::POD_LEFT | News::DEVICES
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        if pod.devices.is_empty() {
            return Prepared::skip();
        }
        match scene.devices.sort(pod) {
            Err(refusal) => Prepared::refused(refusal),
            Ok(wanted) => {
                Prepared::asks(move |node: &NodeInfo| scene.devices.allot(&wanted, &node.facts).err())
            }
        }
    }
}

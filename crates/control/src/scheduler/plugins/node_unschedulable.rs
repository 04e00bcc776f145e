//! Nodes that are cordoned.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::scheduler::framework::{Filter, NodeFilter, Scene};
use crate::scheduler::news::News;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that are cordoned, unless the pod tolerates the taint that stands for it.
pub(super) struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_TAINTS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Option<NodeFilter<'a>> {
        let cordoned = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Taint::default()
        };
        if tolerates(pod, &cordoned) {
            return None;
        }
        Some(Box::new(|node| super::refuse_if(node.facts.unschedulable, "node(s) were unschedulable")))
    }
}

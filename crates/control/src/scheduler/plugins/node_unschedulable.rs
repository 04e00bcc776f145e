//! Nodes that are cordoned.

use k8s_openapi::api::core::v1::Taint;

use super::taint_toleration::tolerates;
use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that are cordoned, unless the pod tolerates the taint that stands for it.
pub(super) struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn cure(&self, _: &PodInfo, node: &NodeInfo) -> Option<String> {
        Some(format!("kubectl uncordon {}", node.name()))
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_TAINTS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        Prepared::asks(|node: &NodeInfo| {
            if !node.facts.unschedulable {
                return None;
            }
            let cordoned = Taint {
                key: "node.kubernetes.io/unschedulable".to_owned(),
                effect: "NoSchedule".to_owned(),
                ..Taint::default()
            };
            super::never_if(!tolerates(pod, &cordoned), "node(s) were unschedulable")
        })
    }
}

//! What is asked about nodes: one file for each plugin, with the name that Kubernetes has for it.
//!
//! To add one: a file here, and a line in the list of its point. The order is that of Kubernetes'
//! default profile: the first filter that refuses a node says why.

use super::framework::{Filter, Refusal, Score};

mod inter_pod_affinity;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced_allocation;
mod node_resources_fit;
mod node_unschedulable;
mod pod_topology_spread;
mod selector_spread;
mod taint_toleration;

/// The filters, in their order: at most 64.
pub(super) fn filters() -> Vec<Box<dyn Filter>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(node_resources_fit::NodeResourcesFit),
        Box::new(pod_topology_spread::PodTopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
    ]
}

/// The scores, in their order.
pub(super) fn scores() -> Vec<Box<dyn Score>> {
    vec![
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_resources_fit::NodeResourcesFit),
        Box::new(pod_topology_spread::PodTopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
        Box::new(selector_spread::SelectorSpread),
        Box::new(node_resources_balanced_allocation::NodeResourcesBalancedAllocation),
    ]
}

/// A refusal for one reason.
fn refuse_if(refused: bool, reason: &'static str) -> Refusal {
    if refused { vec![reason.into()] } else { Vec::new() }
}

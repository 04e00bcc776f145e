//! Nodes whose processors and memory are taken evenly.

use super::node_resources_fit::percent_taken;
use crate::scheduler::framework::{FULL, Scene, Score};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Prefers nodes of whose processors and memory about the same part would be taken.
pub(super) struct NodeResourcesBalancedAllocation;

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let score = |node: &&NodeInfo| {
            let [cpu, memory] = percent_taken(pod, node);
            FULL - (cpu - memory).abs()
        };
        nodes.iter().map(score).collect()
    }
}

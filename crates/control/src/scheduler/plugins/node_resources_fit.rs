//! Whether a node has what the pod asks for, and how much is left.

use crate::scheduler::framework::{FULL, Filter, NodeFilter, Scene, Score};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that have too little left of something, or too many pods; prefers those of which
/// least is taken.
pub(super) struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_ALLOCATABLE | News::POD_LEFT | News::POD_SHRANK
    }

    /// The only filter that gives several reasons at once.
    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Option<NodeFilter<'a>> {
        let wanted = &pod.share.requests;
        Some(Box::new(move |node| {
            let (all, taken) = (&node.facts.allocatable, &node.taken);
            let mut reasons = Vec::new();
            if taken.pods as i128 >= all.get("pods") {
                reasons.push("Too many pods".into());
            }
            for (name, amount) in wanted.iter().filter(|(_, amount)| *amount > 0) {
                if amount > all.get(name) - taken.requested.get(name) {
                    reasons.push(format!("Insufficient {name}").into());
                }
            }
            reasons
        }))
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn weight(&self) -> i64 {
        1
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let score = |node: &&NodeInfo| {
            let [cpu, memory] = percent_taken(pod, node);
            ((FULL - cpu) + (FULL - memory)) / 2
        };
        nodes.iter().map(score).collect()
    }
}

/// How many percent of processors and of memory would be taken with the pod.
pub(super) fn percent_taken(pod: &PodInfo, node: &NodeInfo) -> [i64; 2] {
    let (all, taken, wanted) = (&node.facts.allocatable, &node.taken.requested, &pod.share.requests);
    let percent = |all: i128, taken: i128| {
        if all == 0 { FULL } else { (taken * 100 / all).clamp(0, 100) as i64 }
    };
    [percent(all.cpu, taken.cpu + wanted.cpu), percent(all.memory, taken.memory + wanted.memory)]
}

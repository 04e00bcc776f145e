//! Pods of one owner on different nodes.

use crate::scheduler::framework::{FULL, Scene, Score};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Prefers nodes that have fewer pods of the same owner, in the place of what Kubernetes does by
/// constraints of topology that every pod has which has none of its own.
pub(super) struct SelectorSpread;

impl Score for SelectorSpread {
    fn name(&self) -> &'static str {
        "SelectorSpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        // Who says himself how evenly it is to be has no constraints by default.
        let Some(owner) = pod.share.owner.as_ref().filter(|_| pod.spread.is_empty()) else {
            return vec![0; nodes.len()];
        };
        let count = |node: &&NodeInfo| {
            let count = node.taken.owners.get(owner).copied().unwrap_or(0);
            i64::try_from(count).unwrap_or(i64::MAX / FULL)
        };
        let counts: Vec<i64> = nodes.iter().map(count).collect();
        let most = counts.iter().copied().max().unwrap_or(0).max(1);
        counts.into_iter().map(|count| FULL - count * FULL / most).collect()
    }
}

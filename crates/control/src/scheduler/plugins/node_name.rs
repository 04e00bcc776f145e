//! Pods that name their node themselves.

use crate::scheduler::framework::{Filter, NodeFilter, Scene};
use crate::scheduler::news::News;
use crate::scheduler::pod::PodInfo;

/// Refuses all nodes but the one that the pod names.
pub(super) struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Option<NodeFilter<'a>> {
        let wanted = pod.node_name.as_ref()?;
        Some(Box::new(move |node| {
            super::refuse_if(node.name() != wanted, "node(s) didn't match the requested node name")
        }))
    }
}

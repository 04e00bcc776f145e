//! Pods that name their node themselves.

use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
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

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        let Some(wanted) = pod.node_name.as_ref() else { return Prepared::skip() };
        Prepared::asks(move |node: &NodeInfo| {
            super::never_if(node.name() != wanted, "node(s) didn't match the requested node name")
        })
    }
}

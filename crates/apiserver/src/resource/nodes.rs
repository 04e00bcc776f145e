//! Nodes: registered by their agents, status included.

use super::{Resource, Strategy};

pub(super) fn resource() -> Resource {
    Resource::builtin("", "v1", "Node", "nodes").cluster_wide().short(&["no"]).status().strategy(Nodes)
}

struct Nodes;

impl Strategy for Nodes {
    fn keeps_status_on_create(&self) -> bool {
        true
    }
}

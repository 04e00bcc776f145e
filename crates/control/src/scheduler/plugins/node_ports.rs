//! Ports of the host, which one pod of a node can have.

use crate::scheduler::framework::{Filter, Prepared, Scene};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::{HostPort, PodInfo};

/// Refuses nodes where another pod has a port that this one wants.
pub(super) struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn cure(&self, pod: &PodInfo, node: &NodeInfo) -> Option<String> {
        let taken = |port: &&HostPort| node.taken.ports.keys().any(|used| collide(port, used));
        let port = pod.share.ports.iter().find(taken)?;
        let (number, protocol) = (port.number, &port.protocol);
        Some(format!("{number}/{protocol} of the node has to be given up by another pod"))
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::POD_LEFT | News::POD_SHRANK
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        let wanted = &pod.share.ports;
        if wanted.is_empty() {
            return Prepared::skip();
        }
        Prepared::asks(move |node: &NodeInfo| {
            let taken = |port: &HostPort| node.taken.ports.keys().any(|used| collide(port, used));
            super::not_now_if(
                wanted.iter().any(taken),
                "node(s) didn't have free ports for the requested pod ports",
            )
        })
    }
}

fn collide(one: &HostPort, other: &HostPort) -> bool {
    let any = |address: &str| address == "0.0.0.0";
    one.protocol == other.protocol
        && one.number == other.number
        && (one.address == other.address || any(&one.address) || any(&other.address))
}

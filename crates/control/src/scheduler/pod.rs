//! What the scheduler keeps of a pod: compact, since the informer holds the whole.

use std::fmt;
use std::sync::Arc;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{NodeAffinity, Pod, Toleration};

use super::amounts::{Amounts, requests};
use super::neighbour::Neighbour;
use super::spread::Constraint;
use crate::pods;

/// The scheduler that pods name unless they name another.
const NAME: &str = "default-scheduler";

/// A pod's uid.
pub(super) type Uid = Arc<str>;
/// A node's name.
pub(super) type NodeName = Arc<str>;

/// A pod that waits for a node: all that plugins ask about it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct PodInfo {
    pub(super) id: PodId,
    pub(super) priority: i32,
    /// The node that it names itself.
    pub(super) node_name: Option<NodeName>,
    pub(super) node_selector: Vec<(String, String)>,
    pub(super) node_affinity: Option<Box<NodeAffinity>>,
    pub(super) tolerations: Vec<Toleration>,
    /// How evenly it and those like it are to be spread.
    pub(super) spread: Vec<Constraint>,
    pub(super) share: Arc<Share>,
}

/// Names one pod, and no other that had or will have its name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PodId {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The uid.
    pub uid: Arc<str>,
}

/// What a pod takes of its node: all that is kept of it once it has one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Share {
    pub(super) requests: Amounts,
    pub(super) ports: Vec<HostPort>,
    /// The uid of the owner that manages it, for spreading.
    pub(super) owner: Option<Arc<str>>,
    /// Whether it is being deleted: it takes what it took and keeps others near or away, but who spreads
    /// pods does not count it.
    pub(super) leaving: bool,
    /// What it is to other pods.
    pub(super) neighbour: Arc<Neighbour>,
}

/// A port of the host that a pod takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct HostPort {
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) number: i32,
}

/// A pod as it was seen, as far as it matters here.
#[derive(Debug)]
pub(super) enum Sighting {
    /// It waits for a node of this scheduler's choice.
    Waiting(PodInfo),
    /// It has a node and takes its share of it.
    Placed { uid: Uid, node: NodeName, share: Share },
    /// It has no node, and is none of this scheduler's: another's, held by a gate, being deleted.
    Idle { uid: Uid },
    /// It has ended, and takes nothing any more.
    Ended { uid: Uid },
}

impl Sighting {
    pub(super) fn of(pod: &Pod) -> Self {
        let uid: Uid = pod.uid().into();
        if pods::is_terminal(pod) {
            return Self::Ended { uid };
        }
        match node_name(pod) {
            Some(node) => Self::Placed { uid, node: node.into(), share: Share::of(pod) },
            None if is_ours(pod) => Self::Waiting(PodInfo::of(pod)),
            None => Self::Idle { uid },
        }
    }
}

impl PodInfo {
    pub(super) fn of(pod: &Pod) -> Self {
        let spec = pod.spec.as_ref();
        let affinity = spec.and_then(|spec| spec.affinity.as_ref());
        let selector = spec.iter().flat_map(|spec| spec.node_selector.iter().flatten());
        Self {
            id: PodId { key: pod.key(), uid: pod.uid().into() },
            priority: spec.and_then(|spec| spec.priority).unwrap_or(0),
            node_name: node_name(pod).map(Into::into),
            node_selector: selector.map(|(key, value)| (key.clone(), value.clone())).collect(),
            node_affinity: affinity.and_then(|affinity| affinity.node_affinity.clone()).map(Box::new),
            tolerations: spec.and_then(|spec| spec.tolerations.clone()).unwrap_or_default(),
            spread: Constraint::all(pod),
            share: Arc::new(Share::of(pod)),
        }
    }
}

impl PodInfo {
    /// Whether another pod that comes may make room for it, by being near or by filling up other places.
    pub(super) fn heeds_who_comes(&self) -> bool {
        !self.share.neighbour.needs.is_empty() || self.spread.iter().any(|constraint| constraint.hard)
    }
}

impl Share {
    pub(super) fn of(pod: &Pod) -> Self {
        Self {
            requests: requests(pod),
            ports: host_ports(pod),
            owner: pod.controller().map(|owner| owner.uid.into()),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            neighbour: Arc::new(Neighbour::of(pod)),
        }
    }

    /// Whether less of something is asked for than in another.
    pub(super) fn is_less_than(&self, other: &Self) -> bool {
        let less = |name: &str| self.requests.get(name) < other.requests.get(name);
        other.requests.iter().any(|(name, _)| less(name)) || self.ports != other.ports
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// Whether a pod without a node waits for this scheduler.
fn is_ours(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let scheduler = spec.and_then(|spec| spec.scheduler_name.as_deref()).unwrap_or_default();
    let gates = spec.and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    pods::is_active(pod) && gates.is_empty() && (scheduler.is_empty() || scheduler == NAME)
}

fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty())
}

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|&number| number > 0)?;
            let address = port.host_ip.clone().filter(|ip| !ip.is_empty());
            Some(HostPort {
                address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                number,
            })
        })
        .collect()
}

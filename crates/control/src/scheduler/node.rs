//! What the scheduler keeps of a node, with the sums of what its pods take.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::amounts::Amounts;
use super::neighbour::Neighbour;
use super::news::News;
use super::pod::{HostPort, NodeName, Share};

/// One node, as plugins see it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NodeInfo {
    pub(super) facts: Arc<NodeFacts>,
    pub(super) taken: Taken,
}

/// What a node says about itself, as far as it decides where pods go. A heartbeat changes none of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct NodeFacts {
    pub(super) name: NodeName,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) taints: Vec<Taint>,
    pub(super) unschedulable: bool,
    pub(super) allocatable: Amounts,
}

/// What the pods of a node take of it: sums, to which each pod is added and from which it is taken away.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Taken {
    pub(super) requested: Amounts,
    pub(super) pods: usize,
    /// How many pods take each port; one, unless somebody bound them who did not ask.
    pub(super) ports: BTreeMap<HostPort, usize>,
    /// How many pods are of one owner, by its uid, without those that are being deleted.
    pub(super) owners: HashMap<Arc<str>, usize>,
    /// How many pods are the same to others.
    pub(super) neighbours: HashMap<Arc<Neighbour>, usize>,
    /// How many of those are being deleted.
    pub(super) leaving: HashMap<Arc<Neighbour>, usize>,
    /// How many of them must not have others near.
    pub(super) avoiding: usize,
    /// How many must have some near, or would rather have some, or not.
    pub(super) leaning: usize,
}

impl NodeInfo {
    pub(super) fn name(&self) -> &NodeName {
        &self.facts.name
    }
}

impl NodeFacts {
    pub(super) fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        Self {
            name: node.name().into(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|spec| spec.unschedulable).unwrap_or(false),
            allocatable: Amounts::of(allocatable.into_iter().flatten()),
        }
    }

    /// What is new about the node since `old`.
    pub(super) fn news_since(&self, old: &Self) -> News {
        let changed = [
            (self.allocatable != old.allocatable, News::NODE_ALLOCATABLE),
            (self.labels != old.labels, News::NODE_LABELS),
            (self.taints != old.taints || self.unschedulable != old.unschedulable, News::NODE_TAINTS),
        ];
        changed.into_iter().filter(|(changed, _)| *changed).map(|(_, news)| news).collect()
    }
}

impl Taken {
    pub(super) fn add(&mut self, share: &Share) {
        self.requested.add(&share.requests);
        self.pods += 1;
        for port in &share.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        match &share.owner {
            _ if share.leaving => *self.leaving.entry(share.neighbour.clone()).or_default() += 1,
            Some(owner) => *self.owners.entry(owner.clone()).or_default() += 1,
            None => {}
        }
        *self.neighbours.entry(share.neighbour.clone()).or_default() += 1;
        self.avoiding += usize::from(!share.neighbour.avoids.is_empty());
        self.leaning += usize::from(share.neighbour.leans());
    }

    /// Takes away what was added before.
    pub(super) fn take_away(&mut self, share: &Share) {
        self.requested.take_away(&share.requests);
        self.pods -= 1;
        for port in &share.ports {
            decrease(self.ports.get_mut(port)).then(|| self.ports.remove(port));
        }
        let neighbour = &share.neighbour;
        if share.leaving {
            decrease(self.leaving.get_mut(neighbour)).then(|| self.leaving.remove(neighbour));
        } else if let Some(owner) = &share.owner {
            decrease(self.owners.get_mut(owner)).then(|| self.owners.remove(owner));
        }
        decrease(self.neighbours.get_mut(neighbour)).then(|| self.neighbours.remove(neighbour));
        self.avoiding -= usize::from(!neighbour.avoids.is_empty());
        self.leaning -= usize::from(neighbour.leans());
    }
}

impl Taken {
    /// What pods are to others, and how many of each stay: without those that are being deleted.
    pub(super) fn staying(&self) -> impl Iterator<Item = (&Neighbour, usize)> {
        let going = |neighbour: &Arc<Neighbour>| self.leaving.get(neighbour).copied().unwrap_or(0);
        self.neighbours.iter().map(move |(neighbour, &all)| (&**neighbour, all - going(neighbour)))
    }
}

/// Keeps the tables that a copy has already: one is made of a node at every decision for it.
impl Clone for Taken {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    fn clone_from(&mut self, source: &Self) {
        let Self { requested, pods, ports, owners, neighbours, leaving, avoiding, leaning } = source;
        self.requested.clone_from(requested);
        self.pods = *pods;
        self.ports.clone_from(ports);
        self.owners.clone_from(owners);
        self.neighbours.clone_from(neighbours);
        self.leaving.clone_from(leaving);
        self.avoiding = *avoiding;
        self.leaning = *leaning;
    }
}

/// Counts one less; whether none is left.
fn decrease(count: Option<&mut usize>) -> bool {
    count.is_some_and(|count| {
        *count -= 1;
        *count == 0
    })
}

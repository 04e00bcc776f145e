//! What the scheduler keeps of a node, with the sums of what its pods take.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::amounts::Amounts;
use super::neighbour::Neighbour;
use super::news::News;
use super::pod::{Disk, HostPort, NodeName, Share};

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
    /// The sizes of the images that it has, by all their names.
    pub(super) images: HashMap<Box<str>, i64>,
}

/// A claim, by its namespace and name.
pub(super) type ClaimKey = (Box<str>, Box<str>);

/// What the pods of a node take of it: sums, to which each pod is added and from which it is taken away.
#[derive(PartialEq, Debug, Default)]
pub(super) struct Taken {
    pub(super) requested: Amounts,
    /// Processors and memory that its pods count for in scores.
    pub(super) scored: [i128; 2],
    pub(super) pods: usize,
    /// How many pods take each port; one, unless somebody bound them who did not ask.
    pub(super) ports: BTreeMap<HostPort, usize>,
    /// How many pods use each claim, by namespace and name.
    pub(super) claims: BTreeMap<ClaimKey, usize>,
    /// The disks that its pods name themselves, and how many do.
    pub(super) disks: BTreeMap<Disk, usize>,
    /// How many pods are the same to others.
    pub(super) neighbours: HashMap<Arc<Neighbour>, usize>,
    /// How many of those are being deleted.
    pub(super) leaving: HashMap<Arc<Neighbour>, usize>,
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
            images: images(node),
        }
    }

    /// What is new about the node since `old`, as far as it may make room for somebody.
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
        self.scored.iter_mut().zip(share.scored).for_each(|(sum, more)| *sum += more);
        for claim in &share.claims {
            *self.claims.entry((share.namespace().into(), claim.clone())).or_default() += 1;
        }
        for disk in &share.disks {
            *self.disks.entry(disk.clone()).or_default() += 1;
        }
        for port in &share.ports {
            *self.ports.entry(port.clone()).or_default() += 1;
        }
        if share.leaving {
            *self.leaving.entry(share.neighbour.clone()).or_default() += 1;
        }
        *self.neighbours.entry(share.neighbour.clone()).or_default() += 1;
    }

    /// Takes away what was added before.
    pub(super) fn take_away(&mut self, share: &Share) {
        self.requested.take_away(&share.requests);
        self.pods -= 1;
        self.scored.iter_mut().zip(share.scored).for_each(|(sum, less)| *sum -= less);
        for claim in &share.claims {
            let key = (share.namespace().into(), claim.clone());
            decrease(self.claims.get_mut(&key)).then(|| self.claims.remove(&key));
        }
        for disk in &share.disks {
            decrease(self.disks.get_mut(disk)).then(|| self.disks.remove(disk));
        }
        for port in &share.ports {
            decrease(self.ports.get_mut(port)).then(|| self.ports.remove(port));
        }
        let neighbour = &share.neighbour;
        if share.leaving {
            decrease(self.leaving.get_mut(neighbour)).then(|| self.leaving.remove(neighbour));
        }
        decrease(self.neighbours.get_mut(neighbour)).then(|| self.neighbours.remove(neighbour));
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
        let Self { requested, scored, pods, ports, claims, disks, neighbours, leaving } = source;
        self.requested.clone_from(requested);
        self.scored = *scored;
        self.pods = *pods;
        self.ports.clone_from(ports);
        self.claims.clone_from(claims);
        self.disks.clone_from(disks);
        self.neighbours.clone_from(neighbours);
        self.leaving.clone_from(leaving);
    }
}

fn images(node: &Node) -> HashMap<Box<str>, i64> {
    let all = node.status.iter().flat_map(|status| status.images.iter().flatten());
    let names = all.flat_map(|image| {
        let size = image.size_bytes.unwrap_or(0);
        image.names.iter().flatten().map(move |name| (name.as_str().into(), size))
    });
    names.collect()
}

/// Counts one less; whether none is left.
fn decrease(count: Option<&mut usize>) -> bool {
    count.is_some_and(|count| {
        *count -= 1;
        *count == 0
    })
}

//! Where pods are that are the same to others: what is asked about all nodes at once is answered by looking at
//! those where there is something, and once for all pods of a template.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::scheduler::neighbour::Neighbour;
use crate::scheduler::node::Taken;

/// Pods by what they are to others, with the places of their nodes.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Crowd {
    groups: HashMap<Address, Group>,
    by_namespace: HashMap<String, HashSet<Address>>,
    /// Those that must have somebody near or far, or would rather.
    minding: HashSet<Address>,
}

/// Pods that are the same to others.
#[derive(Debug)]
pub(in crate::scheduler) struct Group {
    pub(in crate::scheduler) neighbour: Arc<Neighbour>,
    /// How many are where, by the place of the node.
    pub(in crate::scheduler) at: HashMap<usize, Count>,
}

/// How many there are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::scheduler) struct Count {
    pub(in crate::scheduler) all: usize,
    /// Those among them that are being deleted.
    pub(in crate::scheduler) leaving: usize,
}

/// Whom it is asked about.
#[derive(Clone, Copy, Debug)]
pub(in crate::scheduler) enum Whom<'a> {
    Everybody,
    /// Those of a namespace.
    In(&'a str),
    /// Those that say something of others themselves.
    Minding,
}

/// Where one is kept: no two that are kept are at the same.
type Address = usize;

impl Crowd {
    /// Takes in how the pods of a node are now.
    pub(super) fn update(&mut self, place: usize, old: &Taken, new: &Taken) {
        let (old, new) = (listed(old), listed(new));
        for (address, (_, count)) in &old {
            if new.get(address).is_none_or(|(_, now)| now != count) {
                self.remove(*address, place);
            }
        }
        for (address, (neighbour, count)) in &new {
            if old.get(address).is_none_or(|(_, before)| before != count) {
                self.set(*address, neighbour, place, *count);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(in crate::scheduler) fn groups<'a>(
        &'a self,
        whom: Whom<'a>,
    ) -> Box<dyn Iterator<Item = &'a Group> + 'a> {
        match whom {
            Whom::Everybody => Box::new(self.groups.values()),
            Whom::In(namespace) => {
                let addresses = self.by_namespace.get(namespace).into_iter().flatten();
                Box::new(addresses.filter_map(|address| self.groups.get(address)))
            }
            Whom::Minding => Box::new(self.minding.iter().filter_map(|address| self.groups.get(address))),
        }
    }

    fn set(&mut self, address: Address, neighbour: &Arc<Neighbour>, place: usize, count: Count) {
        let group = self.groups.entry(address).or_insert_with(|| {
            self.by_namespace.entry(neighbour.namespace.clone()).or_default().insert(address);
            if neighbour.minds() {
                self.minding.insert(address);
            }
            Group { neighbour: Arc::clone(neighbour), at: HashMap::new() }
        });
        group.at.insert(place, count);
    }

    fn remove(&mut self, address: Address, place: usize) {
        let Some(group) = self.groups.get_mut(&address) else { return };
        group.at.remove(&place);
        if !group.at.is_empty() {
            return;
        }
        let namespace = group.neighbour.namespace.clone();
        self.groups.remove(&address);
        self.minding.remove(&address);
        if let Some(addresses) = self.by_namespace.get_mut(&namespace) {
            addresses.remove(&address);
            if addresses.is_empty() {
                self.by_namespace.remove(&namespace);
            }
        }
    }
}

fn listed(taken: &Taken) -> HashMap<Address, (&Arc<Neighbour>, Count)> {
    let leaving = |neighbour: &Arc<Neighbour>| match taken.leaving.is_empty() {
        true => 0,
        false => taken.leaving.get(neighbour).copied().unwrap_or(0),
    };
    let one = |(neighbour, all): (_, &usize)| {
        let count = Count { all: *all, leaving: leaving(neighbour) };
        (Arc::as_ptr(neighbour) as Address, (neighbour, count))
    };
    taken.neighbours.iter().map(one).collect()
}

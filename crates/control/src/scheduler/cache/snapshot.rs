//! The nodes as they were at one moment, for one decision.

use std::collections::HashMap;

use super::{Cache, Crowd, Entry};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::NodeName;

/// The nodes that are known, by name, as they were when it was brought up to date.
///
/// A decision looks at nothing else: what changes meanwhile changes nothing in it, and whoever wants to
/// know what would be if does it to one of his own.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Snapshot {
    nodes: Vec<NodeInfo>,
    crowd: Crowd,
    generation: u64,
}

impl Snapshot {
    /// All nodes, by name.
    pub(in crate::scheduler) fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// Who is where.
    pub(in crate::scheduler) fn crowd(&self) -> &Crowd {
        &self.crowd
    }

    /// One node.
    pub(in crate::scheduler) fn node(&self, name: &NodeName) -> Option<&NodeInfo> {
        self.place(name).map(|place| &self.nodes[place])
    }

    /// Makes it what the cache is now. Copies the nodes that changed since it was last; gives how many.
    pub(in crate::scheduler) fn refresh(&mut self, cache: &Cache) -> usize {
        if cache.members > self.generation {
            self.admit(cache);
        }
        let mut copied = 0;
        for name in cache.changed.range(self.generation + 1..).map(|(_, name)| name) {
            let entry = &cache.nodes[name];
            if let (Some(facts), Some(place)) = (&entry.facts, self.place(name)) {
                self.nodes[place].facts = facts.clone();
                self.crowd.update(place, &self.nodes[place].taken, &entry.taken);
                self.nodes[place].taken.clone_from(&entry.taken);
                copied += 1;
            }
        }
        self.generation = cache.generation;
        copied
    }

    /// Lets in who is new and out who is gone; those who stay are moved, not copied.
    fn admit(&mut self, cache: &Cache) {
        let known = std::mem::take(&mut self.nodes).into_iter().map(|node| (node.name().clone(), node));
        let mut known: HashMap<NodeName, NodeInfo> = known.collect();
        let place_of = |(name, entry): (&NodeName, &Entry)| {
            let facts = entry.facts.clone()?;
            let new = || NodeInfo { facts, taken: super::Taken::default() };
            Some(known.remove(name).unwrap_or_else(new))
        };
        self.nodes = cache.nodes.iter().filter_map(place_of).collect();
        self.nodes.sort_by(|one, other| one.name().cmp(other.name()));
        // All are at other places now.
        self.crowd.clear();
        let nobody = super::Taken::default();
        for (place, node) in self.nodes.iter().enumerate() {
            self.crowd.update(place, &nobody, &node.taken);
        }
    }

    fn place(&self, name: &NodeName) -> Option<usize> {
        self.nodes.binary_search_by(|node| node.name().cmp(name)).ok()
    }
}

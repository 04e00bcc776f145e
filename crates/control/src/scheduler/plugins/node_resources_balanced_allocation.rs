//! Nodes whose processors and memory are taken evenly.

use crate::scheduler::configuration::Profile;
use crate::scheduler::framework::{FULL, Scene, Score};
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Prefers nodes whose resources would be taken more evenly with the pod than without it.
pub(super) struct NodeResourcesBalancedAllocation {
    resources: Vec<String>,
}

impl NodeResourcesBalancedAllocation {
    pub(super) fn of(profile: &Profile) -> Self {
        Self { resources: profile.balanced.clone() }
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let requests = &pod.share.requests;
        // One that asks for nothing changes no balance.
        if self.resources.iter().all(|name| requests.get(name) == 0) {
            return None;
        }
        let score = |node: &&NodeInfo| {
            let (mut with, mut without) = (Parts::default(), Parts::default());
            for name in &self.resources {
                let (all, wanted) = (node.facts.allocatable.get(name), requests.get(name));
                let is_extended = !matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
                if all == 0 || (is_extended && wanted == 0) {
                    continue;
                }
                let taken = node.taken.requested.get(name);
                with.add(taken + wanted, all);
                without.add(taken, all);
            }
            FULL / 2 + (FULL / 2 + with.balance() - without.balance()) / 2
        };
        Some(nodes.iter().map(score).collect())
    }
}

/// Which part of each resource is taken.
#[derive(Default)]
struct Parts {
    parts: [f64; 8],
    more: Vec<f64>,
    count: usize,
}

impl Parts {
    fn add(&mut self, taken: i128, all: i128) {
        let part = (taken as f64 / all as f64).min(1.0);
        match self.parts.get_mut(self.count) {
            Some(place) => *place = part,
            None => self.more.push(part),
        }
        self.count += 1;
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        self.parts.iter().take(self.count).chain(&self.more).copied()
    }

    /// All if the same part is taken of each; less the more they differ.
    fn balance(&self) -> i64 {
        let deviation = match self.count {
            0 | 1 => 0.0,
            2 => ((self.parts[0] - self.parts[1]) / 2.0).abs(),
            count => {
                let count = count as f64;
                let mean = self.all().sum::<f64>() / count;
                (self.all().map(|part| (part - mean) * (part - mean)).sum::<f64>() / count).sqrt()
            }
        };
        ((1.0 - deviation) * FULL as f64) as i64
    }
}

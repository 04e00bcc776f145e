//! How evenly pods that are alike are spread: `topologySpreadConstraints`.
//!
//! As in Kubernetes, one that is being deleted does not count, and a selector that selects everything
//! counts nobody.

use std::collections::HashMap;

use crate::scheduler::framework::{FULL, Filter, NodeFilter, Scene, Score};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::spread::Constraint;

/// Refuses nodes where a pod would be one too many beside those elsewhere, and prefers those where it is
/// least so.
pub(super) struct PodTopologySpread;

/// How many pods that a constraint counts are at each value of its label.
type Counts<'a> = HashMap<&'a str, i64>;

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn listens(&self) -> News {
        let nodes = News::NODE_ADDED | News::NODE_GONE | News::NODE_LABELS | News::NODE_TAINTS;
        nodes | News::POD_LEFT | News::POD_LEAVES | News::POD_CAME | News::POD_LABELS
    }

    /// What happens at one node changes how many there are anywhere else to compare with.
    fn may_accept(&self, _: &PodInfo, _: &NodeInfo, news: News) -> bool {
        self.listens().meets(news)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Option<NodeFilter<'a>> {
        let hard: Vec<&Constraint> = pod.spread.iter().filter(|constraint| constraint.hard).collect();
        if hard.is_empty() {
            return None;
        }
        let bounds = hard.iter().map(|constraint| {
            let nodes = || scene.nodes.iter().filter(|node| has_all(node, &hard));
            let counts = count(pod, constraint, nodes().filter(|node| is_eligible(pod, constraint, node)));
            let fewest = counts.values().copied().min().unwrap_or(0);
            let has_enough = i64::try_from(counts.len()).is_ok_and(|places| places >= constraint.min_domains);
            let fewest = if has_enough { fewest } else { 0 };
            let own = i64::from(constraint.selects(&pod.share.neighbour));
            // So many may be there before it comes.
            (*constraint, counts, constraint.max_skew + fewest - own)
        });
        let bounds: Vec<_> = bounds.collect();
        Some(Box::new(move |node| {
            let refused = bounds.iter().find_map(|(constraint, counts, most)| {
                let Some(place) = constraint.place(node) else { return Some(NO_PLACE) };
                (counts.get(place).copied().unwrap_or(0) > *most).then_some(UNEVEN)
            });
            refused.map(|reason| vec![reason.into()]).unwrap_or_default()
        }))
    }
}

const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const NO_PLACE: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// In proportion to the node where most would be; nothing for one that lacks a label.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let soft: Vec<&Constraint> = pod.spread.iter().filter(|constraint| !constraint.hard).collect();
        if soft.is_empty() {
            return vec![0; nodes.len()];
        }
        let mut sums: Vec<Option<f64>> =
            nodes.iter().map(|node| has_all(node, &soft).then_some(0.0)).collect();
        for constraint in &soft {
            let eligible = |node: &&NodeInfo| has_all(node, &soft) && is_eligible(pod, constraint, node);
            let counts = count(pod, constraint, scene.nodes.iter().filter(eligible));
            let placed = sums.iter().zip(nodes).filter(|(sum, _)| sum.is_some());
            let places: std::collections::BTreeSet<&str> =
                placed.filter_map(|(_, node)| constraint.place(node)).collect();
            // Where there are many places, each has few.
            let weight = ((places.len() + 2) as f64).ln();
            for (sum, node) in sums.iter_mut().zip(nodes) {
                let count = constraint.place(node).and_then(|place| counts.get(place)).copied().unwrap_or(0);
                if let Some(sum) = sum {
                    *sum += count as f64 * weight + (constraint.max_skew - 1) as f64;
                }
            }
        }
        let sums: Vec<Option<i64>> = sums.into_iter().map(|sum| sum.map(|sum| sum.round() as i64)).collect();
        let of_placed = || sums.iter().flatten().copied();
        let (least, most) = (of_placed().min().unwrap_or(0), of_placed().max().unwrap_or(0));
        let score = |sum: &Option<i64>| match sum {
            None => 0,
            Some(_) if most == 0 => FULL,
            Some(sum) => FULL * (most + least - sum) / most,
        };
        sums.iter().map(score).collect()
    }
}

/// Whether a node has the labels of all constraints.
fn has_all(node: &NodeInfo, constraints: &[&Constraint]) -> bool {
    constraints.iter().all(|constraint| constraint.place(node).is_some())
}

/// Whether a constraint counts what is on a node.
fn is_eligible(pod: &PodInfo, constraint: &Constraint, node: &NodeInfo) -> bool {
    (!constraint.honours_affinity || super::node_affinity::is_met_by(pod, &node.facts))
        && (!constraint.honours_taints || super::taint_toleration::untolerated(pod, &node.facts).is_none())
}

/// How many pods a constraint counts on `nodes`, also where there are none.
fn count<'a>(
    pod: &PodInfo,
    constraint: &Constraint,
    nodes: impl Iterator<Item = &'a NodeInfo>,
) -> Counts<'a> {
    let mut counts = Counts::new();
    for node in nodes {
        let Some(place) = node.facts.labels.get(&constraint.topology_key) else { continue };
        let counted = node.taken.staying().filter(|(neighbour, _)| {
            neighbour.namespace == pod.share.neighbour.namespace && constraint.counts(neighbour)
        });
        let here: usize = counted.map(|(_, count)| count).sum();
        *counts.entry(place).or_default() += i64::try_from(here).unwrap_or(i64::MAX / FULL);
    }
    counts
}

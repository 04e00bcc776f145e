//! How evenly pods that are alike are spread: `topologySpreadConstraints`, or what holds where a pod has none.
//!
//! As in Kubernetes, one that is being deleted does not count, and a selector that selects everything
//! counts nobody.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::scheduler::cache::Whom;
use crate::scheduler::configuration::{Profile, Spread};
use crate::scheduler::framework::{FULL, Filter, NodeFilter, Prepared, Refusal, Scene, Score};
use crate::scheduler::neighbour::Neighbour;
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::{PodInfo, Share};
use crate::scheduler::spread::Constraint;

/// Refuses nodes where a pod would be one too many beside those elsewhere, and prefers those where it is
/// least so.
pub(super) struct PodTopologySpread {
    defaults: Spread,
}

/// How many pods that a constraint counts are at each value of its label.
type Counts<'a> = HashMap<Cow<'a, str>, i64>;

const HOST: &str = "kubernetes.io/hostname";
const UNEVEN: &str = "node(s) didn't match pod topology spread constraints";
const NO_PLACE: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

impl PodTopologySpread {
    pub(super) fn of(profile: &Profile) -> Self {
        Self { defaults: profile.spread.clone() }
    }

    /// The hard constraints of a pod, or the soft ones; those of its own, or those for pods without any.
    fn constraints<'a>(&self, pod: &'a PodInfo, scene: Scene<'_>, hard: bool) -> Vec<Cow<'a, Constraint>> {
        if !pod.spread.is_empty() {
            let own = pod.spread.iter().filter(|constraint| constraint.hard == hard);
            return own.map(Cow::Borrowed).collect();
        }
        let mut defaults = self.defaults.constraints.iter().filter(|default| default.hard == hard).peekable();
        if defaults.peek().is_none() {
            return Vec::new();
        }
        let Some(selector) = scene.workloads.selector_of(pod) else { return Vec::new() };
        defaults.map(|default| Cow::Owned(Constraint::by_default(default, selector.clone()))).collect()
    }
}

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn listens(&self) -> News {
        let nodes = News::NODE_ADDED | News::NODE_GONE | News::NODE_LABELS | News::NODE_TAINTS;
        nodes | News::POD_LEFT | News::POD_LEAVES | News::POD_CAME | News::POD_LABELS
    }

    /// What happens at one node changes how many there are anywhere else to compare with.
    fn may_accept(&self, _: &PodInfo, _: &NodeInfo, news: News, _: Scene<'_>) -> bool {
        self.listens().meets(news)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        let hard = self.constraints(pod, scene, true);
        if hard.is_empty() {
            return Prepared::skip();
        }
        let bounds = hard.iter().map(|constraint| {
            let counts_here = |node: &NodeInfo| has_all(node, &hard) && is_eligible(pod, constraint, node);
            let mut counts = places(constraint, scene.nodes.iter().filter(|node| counts_here(node)));
            count(pod, constraint, scene, |node, count| {
                if let Some(place) = constraint.place(node)
                    && counts_here(node)
                    && let Some(sum) = counts.get_mut(place)
                {
                    *sum += count;
                }
            });
            let own = i64::from(constraint.selects(&pod.share.neighbour));
            let mut bound = Bound { constraint: constraint.clone(), counts, own, most: 0 };
            bound.settle();
            bound
        });
        let bounds = bounds.collect();
        Prepared::asks(Bounds { pod, hard, bounds })
    }
}

/// What the hard constraints of a pod allow.
struct Bounds<'a> {
    pod: &'a PodInfo,
    hard: Vec<Cow<'a, Constraint>>,
    bounds: Vec<Bound<'a>>,
}

/// One constraint, with how many are where.
struct Bound<'a> {
    constraint: Cow<'a, Constraint>,
    counts: Counts<'a>,
    /// Whether the pod counts itself.
    own: i64,
    /// So many may be at a place before the pod comes.
    most: i64,
}

impl Bound<'_> {
    /// Works out what follows from the counts.
    fn settle(&mut self) {
        let constraint = &self.constraint;
        let has_enough =
            i64::try_from(self.counts.len()).is_ok_and(|places| places >= constraint.min_domains);
        let fewest = if has_enough { self.counts.values().copied().min().unwrap_or(0) } else { 0 };
        self.most = constraint.max_skew + fewest - self.own;
    }
}

impl NodeFilter for Bounds<'_> {
    fn refuses(&self, node: &NodeInfo) -> Option<Refusal> {
        self.bounds.iter().find_map(|bound| {
            let Some(place) = bound.constraint.place(node) else { return Some(Refusal::hopeless(NO_PLACE)) };
            let count = bound.counts.get(place).copied().unwrap_or(0);
            (count > bound.most).then(|| Refusal::for_now(UNEVEN))
        })
    }

    fn shift(&mut self, node: &NodeInfo, share: &Share, by: i64) {
        if share.leaving || share.namespace() != self.pod.namespace() || !has_all(node, &self.hard) {
            return;
        }
        for bound in &mut self.bounds {
            let constraint = &bound.constraint;
            if !constraint.counts(&share.neighbour) || !is_eligible(self.pod, constraint, node) {
                continue;
            }
            if let Some(count) = constraint.place(node).and_then(|place| bound.counts.get_mut(place)) {
                *count += by;
                bound.settle();
            }
        }
    }
}

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    /// In proportion to the node where most would be; nothing for one that lacks a label.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let soft = self.constraints(pod, scene, false);
        if soft.is_empty() {
            return None;
        }
        let needs_all = !pod.spread.is_empty() || !self.defaults.lenient;
        let counts_here = |node: &NodeInfo| !needs_all || has_all(node, &soft);
        let mut sums: Vec<Option<f64>> = nodes.iter().map(|node| counts_here(node).then_some(0.0)).collect();
        let placed = sums.iter().flatten().count();
        for constraint in &soft {
            let by_host = constraint.topology_key == HOST;
            let mut counts = Counts::new();
            let mut of_hosts: HashMap<*const NodeInfo, i64> = HashMap::new();
            if !by_host {
                let counted = sums.iter().zip(nodes).filter(|(sum, _)| sum.is_some());
                counts = places(constraint, counted.map(|(_, node)| *node));
            }
            count(pod, constraint, scene, |node, count| match by_host {
                true => *of_hosts.entry(std::ptr::from_ref(node)).or_default() += count,
                false => {
                    if let Some(place) = constraint.place(node)
                        && counts_here(node)
                        && is_eligible(pod, constraint, node)
                        && let Some(sum) = counts.get_mut(place)
                    {
                        *sum += count;
                    }
                }
            });
            let places = if by_host { placed } else { counts.len() };
            // Where there are many places, each has few.
            let weight = ((places + 2) as f64).ln();
            for (sum, node) in sums.iter_mut().zip(nodes) {
                let (Some(sum), Some(place)) = (sum.as_mut(), constraint.place(node)) else { continue };
                let count = match by_host {
                    true => of_hosts.get(&std::ptr::from_ref(*node)).copied().unwrap_or(0),
                    false => counts.get(place).copied().unwrap_or(0),
                };
                *sum += count as f64 * weight + (constraint.max_skew - 1) as f64;
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
        Some(sums.iter().map(score).collect())
    }
}

/// Whether a node has the labels of all constraints.
fn has_all(node: &NodeInfo, constraints: &[Cow<'_, Constraint>]) -> bool {
    constraints.iter().all(|constraint| constraint.place(node).is_some())
}

/// Whether a constraint counts what is on a node.
fn is_eligible(pod: &PodInfo, constraint: &Constraint, node: &NodeInfo) -> bool {
    (!constraint.honours_affinity || super::node_affinity::is_met_by(pod, &node.facts))
        && (!constraint.honours_taints || super::taint_toleration::untolerated(pod, &node.facts).is_none())
}

/// The places of `nodes`, without anybody there.
fn places<'a>(constraint: &Constraint, nodes: impl Iterator<Item = &'a NodeInfo>) -> Counts<'a> {
    let places = nodes.filter_map(|node| node.facts.labels.get(&constraint.topology_key));
    places.map(|place| (Cow::Borrowed(place.as_str()), 0)).collect()
}

/// Shows on which nodes a constraint counts pods, and how many.
fn count<'a>(
    pod: &PodInfo,
    constraint: &Constraint,
    scene: Scene<'a>,
    mut with: impl FnMut(&'a NodeInfo, i64),
) {
    let meant = |other: &Neighbour| other.namespace == pod.namespace() && constraint.counts(other);
    scene.visit(Whom::In(pod.namespace()), meant, |_, node, count| {
        with(node, i64::try_from(count.all - count.leaving).unwrap_or(i64::MAX / FULL));
    });
}

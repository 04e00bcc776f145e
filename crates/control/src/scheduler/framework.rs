//! The plugins in their order, and a decision by them: pure.
//!
//! A decision for one pod has the points of Kubernetes' scheduling framework, of which two are here:
//! every [`Filter`] is asked about every node, and of the nodes that none refused the [`Score`]s find
//! the best. Before the filters stands the [queue](super::queue), behind the scores the
//! [assumption](super::cache) and the writing of the decision, which runs beside the next decisions:
//! what reserves, permits or binds comes in between.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::neighbour::{NO_NAMESPACES, NamespaceLabels};
use super::news::News;
use super::node::NodeInfo;
use super::plugins;
use super::pod::{NodeName, PodInfo};

/// The most that a plugin can give a node.
pub(super) const FULL: i64 = 100;

/// What is known when it is decided about a pod.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    /// All nodes, in the order of their names.
    pub(super) nodes: &'a [NodeInfo],
    /// The labels of namespaces.
    pub(super) namespaces: &'a NamespaceLabels,
}

/// Says which nodes cannot take a pod.
pub(super) trait Filter: Send + Sync {
    /// The name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// What may make it accept a node that it refused.
    fn listens(&self) -> News;

    /// Looks at the pod once and gives what is to be asked about each node; nothing if it has no
    /// objection to any.
    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Option<NodeFilter<'a>>;

    /// Whether a pod that it refused may be accepted after what happened to a node.
    ///
    /// This holds for filters that look at one node alone; others say it in their own way.
    fn may_accept(&self, pod: &PodInfo, node: &NodeInfo, news: News) -> bool {
        self.listens().meets(news)
            && self
                .prepare(pod, Scene::of(std::slice::from_ref(node)))
                .is_none_or(|refusal| refusal(node).is_empty())
    }
}

/// Why a node cannot take the pod, in Kubernetes' words; nothing if it can.
pub(super) type NodeFilter<'a> = Box<dyn Fn(&NodeInfo) -> Refusal + 'a>;
pub(super) type Refusal = Vec<Cow<'static, str>>;

/// Says which of the nodes that could take a pod is better.
pub(super) trait Score: Send + Sync {
    /// The name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// How much its word counts.
    fn weight(&self) -> i64;

    /// What it gives each of `nodes`, those that no filter refused, in their order, from nothing to [`FULL`].
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64>;
}

impl<'a> Scene<'a> {
    /// With these nodes, and without any namespace.
    pub(super) fn of(nodes: &'a [NodeInfo]) -> Self {
        Self { nodes, namespaces: &NO_NAMESPACES }
    }
}

/// The plugins of one scheduler.
pub(super) struct Framework {
    pub(super) filters: Vec<Box<dyn Filter>>,
    pub(super) scores: Vec<Box<dyn Score>>,
}

/// A set of filters: bit by bit, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Refusers(u64);

/// Why no node can take a pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unfit {
    /// In Kubernetes' words.
    pub(super) message: String,
    /// Who refused a node; nobody, if there is no node.
    pub(super) by: Refusers,
}

impl Framework {
    /// The plugins that everybody has.
    pub(super) fn new() -> Self {
        Self { filters: plugins::filters(), scores: plugins::scores() }
    }

    /// The best node for a pod, or why there is none. Of equals the first by name is taken.
    ///
    /// A node is asked about until the first filter refuses it, whose word counts.
    pub(super) fn choose(&self, pod: &PodInfo, scene: Scene<'_>) -> Result<NodeName, Unfit> {
        let nodes = scene.nodes;
        let numbered = self.filters.iter().enumerate();
        let filters: Vec<(usize, NodeFilter<'_>)> =
            numbered.filter_map(|(index, filter)| Some((index, filter.prepare(pod, scene)?))).collect();
        let (mut fitting, mut by) = (Vec::new(), Refusers::default());
        let mut reasons: BTreeMap<Cow<'static, str>, usize> = BTreeMap::new();
        for node in nodes {
            let mut refused = filters.iter().map(|(index, filter)| (index, filter(node)));
            match refused.find(|(_, refusal)| !refusal.is_empty()) {
                None => fitting.push(node),
                Some((index, refusal)) => {
                    by.insert(*index);
                    refusal.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
                }
            }
        }
        match self.best(pod, scene, &fitting) {
            Some(node) => Ok(node.name().clone()),
            None => Err(Unfit { message: explain(nodes.len(), reasons), by }),
        }
    }

    /// Whether what happened to a node may make it take a pod that those filters refused.
    pub(super) fn may_help(&self, pod: &PodInfo, by: Refusers, node: &NodeInfo, news: News) -> bool {
        let mut filters = self.filters.iter().enumerate().filter(|(index, _)| by.contains(*index));
        // Who was refused by nobody waits for any node at all.
        by == Refusers::default() || filters.any(|(_, filter)| filter.may_accept(pod, node, news))
    }

    /// Their names, as Kubernetes has them.
    pub(super) fn names(&self, of: Refusers) -> Vec<&'static str> {
        let filters = self.filters.iter().enumerate().filter(|(index, _)| of.contains(*index));
        filters.map(|(_, filter)| filter.name()).collect()
    }

    fn best<'a>(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&'a NodeInfo]) -> Option<&'a NodeInfo> {
        if nodes.len() < 2 {
            return nodes.first().copied();
        }
        let mut sums = vec![0; nodes.len()];
        for plugin in &self.scores {
            let scores = plugin.scores(pod, scene, nodes);
            debug_assert!(
                scores.len() == nodes.len() && scores.iter().all(|score| (0..=FULL).contains(score)),
                "{} gives {scores:?}",
                plugin.name()
            );
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score * plugin.weight());
        }
        // The last of equal maxima wins, so they are looked at from the end.
        let best = sums.iter().enumerate().rev().max_by_key(|(_, sum)| **sum);
        best.map(|(place, _)| nodes[place])
    }
}

impl Refusers {
    fn insert(&mut self, filter: usize) {
        self.0 |= 1 << filter;
    }

    fn contains(self, filter: usize) -> bool {
        self.0 & 1 << filter != 0
    }
}

fn explain(nodes: usize, reasons: BTreeMap<Cow<'static, str>, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<String> =
        reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests;

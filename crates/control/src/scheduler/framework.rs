//! The plugins of one profile in their order, and a decision by them: pure.
//!
//! A decision for one pod has the points of Kubernetes' scheduling framework: every [`Filter`] is asked about
//! every node, or about so many that enough were found, and of the nodes that none refused the [`Score`]s find
//! the best. Before the filters stands the [queue](super::queue), behind a refusal
//! [preemption](super::preemption), behind the scores the [assumption](super::cache) and the writing of the
//! decision, which runs beside the next decisions: volumes are bound there before the pod is.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use client::ObjectKey;

use super::cache::{Count, Crowd, Whom};
use super::configuration::{Configuration, Preemption, Profile};
use super::devices::Devices;
use super::neighbour::{NamespaceLabels, Neighbour};
use super::news::{Changes, News};
use super::node::NodeInfo;
use super::plugins;
use super::pod::{NodeName, PodInfo, Share, Uid};
use super::volumes::{Plan, Volumes};
use super::workloads::Workloads;

mod message;

/// The most that a plugin can give a node.
pub(super) const FULL: i64 = 100;

/// Of fewer nodes all are looked at.
const FEW: usize = 100;

/// What is known when it is decided about a pod.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    /// All nodes, in the order of their names.
    pub(super) nodes: &'a [NodeInfo],
    /// Who is where; the nodes are asked where it is not known.
    pub(super) crowd: Option<&'a Crowd>,
    /// The labels of namespaces.
    pub(super) namespaces: &'a NamespaceLabels,
    pub(super) volumes: &'a Volumes,
    pub(super) devices: &'a Devices,
    pub(super) workloads: &'a Workloads,
    /// How many nodes have each image.
    pub(super) images: &'a HashMap<Box<str>, usize>,
    /// The pods that others made room for, and that are not there yet.
    pub(super) guests: &'a Guests,
}

/// Pods that others made room for, by the node where they did.
pub(super) type Guests = HashMap<NodeName, Vec<Guest>>;

/// A pod that others made room for.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) uid: Uid,
    pub(super) key: ObjectKey,
    pub(super) share: Arc<Share>,
    /// Whether the API has shown it.
    pub(super) shown: bool,
}

/// Says which nodes cannot take a pod.
pub(super) trait Filter: Send + Sync {
    /// The name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// What may make it accept a node that it refused.
    fn listens(&self) -> News;

    /// Looks at the pod once, and gives what is to be asked about each node.
    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a>;

    /// Whether a pod that it refused may be accepted after what happened to a node.
    ///
    /// This holds for filters that look at one node alone; others say it in their own way.
    fn may_accept(&self, pod: &PodInfo, node: &NodeInfo, news: News, scene: Scene<'_>) -> bool {
        if !self.listens().meets(news) {
            return false;
        }
        let alone = Scene { nodes: std::slice::from_ref(node), crowd: None, ..scene };
        let prepared = self.prepare(pod, alone);
        let is_named = prepared.only.is_none_or(|only| only.contains(&**node.name()));
        prepared.refused.is_none()
            && is_named
            && prepared.filter.is_none_or(|filter| filter.refuses(node).is_none())
    }

    /// What would make a node that it refused acceptable, for people.
    fn cure(&self, _: &PodInfo, _: &NodeInfo) -> Option<String> {
        None
    }

    /// Whether a pod that it refused may be accepted after what happened to objects that are no nodes.
    fn heeds(&self, _: &PodInfo, changes: &Changes) -> bool {
        self.listens().meets(changes.news)
    }
}

/// What a filter makes of a pod: an objection to any node, or something to ask about each; neither if it has no
/// objection at all.
#[derive(Default)]
pub(super) struct Prepared<'a> {
    pub(super) refused: Option<Refusal>,
    /// The only nodes that are asked about at all.
    pub(super) only: Option<HashSet<Box<str>>>,
    pub(super) filter: Option<Box<dyn NodeFilter + 'a>>,
}

/// What a filter asks about each node.
pub(super) trait NodeFilter {
    /// Why the node cannot take the pod, in Kubernetes' words; nothing if it can.
    fn refuses(&self, node: &NodeInfo) -> Option<Refusal>;

    /// Counts a pod on a node so many times more: for those who look at several nodes at once.
    fn shift(&mut self, _node: &NodeInfo, _share: &Share, _by: i64) {}
}

impl<F: Fn(&NodeInfo) -> Option<Refusal>> NodeFilter for F {
    fn refuses(&self, node: &NodeInfo) -> Option<Refusal> {
        self(node)
    }
}

/// Why a pod is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Refusal {
    /// In Kubernetes' words.
    pub(super) reasons: Vec<Cow<'static, str>>,
    /// Whether it would be so without any other pod, too.
    pub(super) hopeless: bool,
}

impl Refusal {
    pub(super) fn hopeless(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], hopeless: true }
    }

    /// One that other pods are the cause of, or may be.
    pub(super) fn for_now(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reasons: vec![reason.into()], hopeless: false }
    }
}

impl<'a> Prepared<'a> {
    /// Has no objection.
    pub(super) fn skip() -> Self {
        Self::default()
    }

    pub(super) fn refused(refusal: Refusal) -> Self {
        Self { refused: Some(refusal), ..Self::default() }
    }

    pub(super) fn asks(filter: impl NodeFilter + 'a) -> Self {
        Self { filter: Some(Box::new(filter)), ..Self::default() }
    }
}

/// Says which of the nodes that could take a pod is better.
pub(super) trait Score: Send + Sync {
    /// The name, as Kubernetes has it.
    fn name(&self) -> &'static str;

    /// What it gives each of `nodes`, those that no filter refused, in their order, from nothing to [`FULL`];
    /// nothing at all if it does not care.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>>;
}

impl<'a> Scene<'a> {
    /// With these nodes, and nothing else.
    #[cfg(test)]
    pub(super) fn of(nodes: &'a [NodeInfo]) -> Self {
        use std::sync::LazyLock;
        static NO_NAMESPACES: LazyLock<NamespaceLabels> = LazyLock::new(NamespaceLabels::default);
        static NO_VOLUMES: LazyLock<Volumes> = LazyLock::new(Volumes::default);
        static NO_DEVICES: LazyLock<Devices> = LazyLock::new(Devices::default);
        static NO_WORKLOADS: LazyLock<Workloads> = LazyLock::new(Workloads::default);
        static NO_IMAGES: LazyLock<HashMap<Box<str>, usize>> = LazyLock::new(HashMap::new);
        static NO_GUESTS: LazyLock<Guests> = LazyLock::new(HashMap::new);
        Self {
            nodes,
            crowd: None,
            namespaces: &NO_NAMESPACES,
            volumes: &NO_VOLUMES,
            devices: &NO_DEVICES,
            workloads: &NO_WORKLOADS,
            images: &NO_IMAGES,
            guests: &NO_GUESTS,
        }
    }

    /// Shows what pods are to others that are meant, with how many of them are on each node where some are.
    pub(super) fn visit(
        &self,
        whom: Whom<'_>,
        meant: impl Fn(&Neighbour) -> bool,
        mut with: impl FnMut(&Neighbour, &'a NodeInfo, Count),
    ) {
        if let Some(crowd) = self.crowd {
            for group in crowd.groups(whom).filter(|group| meant(&group.neighbour)) {
                group
                    .at
                    .iter()
                    .for_each(|(place, count)| with(&group.neighbour, &self.nodes[*place], *count));
            }
            return;
        }
        for node in self.nodes {
            let going = |neighbour| node.taken.leaving.get(neighbour).copied().unwrap_or(0);
            for (neighbour, all) in node.taken.neighbours.iter().filter(|(neighbour, _)| meant(neighbour)) {
                with(neighbour, node, Count { all: *all, leaving: going(neighbour) });
            }
        }
    }

    /// Those on a node that count for a pod as if they were there: as important as itself, or more so.
    fn guests_before(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<&'a Guest> {
        if self.guests.is_empty() {
            return Vec::new();
        }
        let guests = self.guests.get(node.name()).into_iter().flatten();
        guests.filter(|guest| guest.share.priority >= pod.priority() && guest.uid != pod.id.uid).collect()
    }
}

/// The plugins of one profile.
pub(super) struct Framework {
    pub(super) filters: Vec<Box<dyn Filter>>,
    /// With how much their words count.
    pub(super) scores: Vec<(Box<dyn Score>, i64)>,
    /// How pods make room for more important ones, if they do.
    pub(super) preemption: Option<Preemption>,
    /// How many nodes of a hundred are to be found that can take a pod; as many as seem good if that is not said.
    percentage: Option<usize>,
}

/// A set of filters: bit by bit, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Refusers(u64);

/// What was found for a pod.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Choice {
    pub(super) node: NodeName,
    /// What is to be done about its volumes and devices.
    pub(super) plan: Plan,
    /// How good it is in the sum.
    pub(super) score: i64,
}

/// Why no node can take a pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Unfit {
    /// How many nodes there are.
    pub(super) nodes: usize,
    /// Why none needed to be asked about.
    pub(super) whole: Option<Refusal>,
    /// Why each refuses it, by its place.
    pub(super) refused: Vec<(usize, Refusal)>,
    /// Why those refuse it that were not asked about.
    pub(super) others: Option<Refusal>,
    /// Who refused a node; nobody, if there is no node.
    pub(super) by: Refusers,
}

/// What the filters ask, by their numbers.
pub(super) struct Questions<'a> {
    filters: Vec<(usize, Box<dyn NodeFilter + 'a>)>,
}

impl Framework {
    /// The plugins that everybody has.
    #[cfg(test)]
    pub(super) fn new() -> Self {
        let configuration = Configuration::default();
        Self::of(&configuration.profiles[0], &configuration)
    }

    /// Those of a profile.
    pub(super) fn of(profile: &Profile, configuration: &Configuration) -> Self {
        let percentage = profile.percentage_of_nodes_to_score.or(configuration.percentage_of_nodes_to_score);
        Self {
            filters: plugins::filters(profile),
            scores: plugins::scores(profile),
            preemption: plugins::preemption(profile),
            percentage: percentage.filter(|percentage| *percentage > 0),
        }
    }

    /// The best node for a pod, or why there is none. Of equals the first is taken that was looked at.
    ///
    /// Nodes are looked at from the one at `start` on, in the order of their names, until enough are found;
    /// the next decision begins where this one ends. A node is asked about until the first filter refuses it,
    /// whose word counts.
    pub(super) fn choose(
        &self,
        pod: &PodInfo,
        scene: Scene<'_>,
        start: &mut usize,
    ) -> Result<Choice, Box<Unfit>> {
        let count = scene.nodes.len();
        let (mut questions, only) = self.questions(pod, scene)?;
        // Others have gone for it there.
        if let Some(name) = &pod.nominated
            && let Some(node) = find(scene.nodes, name)
            && only.as_ref().is_none_or(|(only, _)| only.contains(&**name))
            && questions.refusal(pod, node, scene).is_none()
            && let Some(choice) = self.best(pod, scene, &[node])
        {
            return Ok(choice);
        }
        let wanted = self.enough(only.as_ref().map_or(count, |(only, _)| only.len().min(count)));
        let (mut fitting, mut unfit) =
            (Vec::with_capacity(wanted), Unfit { nodes: count, ..Unfit::default() });
        let mut looked_at = 0;
        let places: Box<dyn Iterator<Item = usize>> = match &only {
            // Few of many: each is looked up.
            Some((only, _)) => {
                let mut places: Vec<usize> =
                    only.iter().filter_map(|name| place(scene.nodes, name)).collect();
                places.sort_unstable();
                Box::new(places.into_iter())
            }
            None => {
                let first = if count == 0 { 0 } else { *start % count };
                Box::new((first..count).chain(0..first))
            }
        };
        for place in places {
            if fitting.len() >= wanted {
                break;
            }
            looked_at += 1;
            let node = &scene.nodes[place];
            match questions.refusal(pod, node, scene) {
                None => fitting.push(node),
                Some((index, refusal)) => {
                    unfit.by.insert(index);
                    unfit.refused.push((place, refusal));
                }
            }
        }
        if only.is_none() && count > 0 {
            *start = (*start + looked_at) % count;
        }
        if let Some(choice) = self.best(pod, scene, &fitting) {
            return Ok(choice);
        }
        if let Some((_, plugins)) = only {
            plugins.iter().for_each(|plugin| unfit.by.insert(*plugin));
            let names = self.names_of(&plugins);
            unfit.others =
                Some(Refusal::hopeless(format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" "))));
        }
        Err(Box::new(unfit))
    }

    /// What is to be asked about each node, and which nodes alone, where that is known; or why none needs to be
    /// asked about.
    #[allow(clippy::type_complexity, reason = "a pair that is taken apart at once")]
    pub(super) fn questions<'a>(
        &self,
        pod: &'a PodInfo,
        scene: Scene<'a>,
    ) -> Result<(Questions<'a>, Option<(HashSet<Box<str>>, Vec<usize>)>), Box<Unfit>> {
        let mut filters = Vec::with_capacity(self.filters.len());
        let mut only: Option<(HashSet<Box<str>>, Vec<usize>)> = None;
        for (index, filter) in self.filters.iter().enumerate() {
            let prepared = filter.prepare(pod, scene);
            if let Some(refusal) = prepared.refused {
                let mut by = Refusers::default();
                by.insert(index);
                let nodes = scene.nodes.len();
                return Err(Box::new(Unfit { nodes, whole: Some(refusal), by, ..Unfit::default() }));
            }
            if let Some(names) = prepared.only {
                only = Some(match only {
                    None => (names, vec![index]),
                    Some((known, mut by)) => {
                        by.push(index);
                        (known.intersection(&names).cloned().collect(), by)
                    }
                });
            }
            filters.extend(prepared.filter.map(|filter| (index, filter)));
        }
        Ok((Questions { filters }, only))
    }

    /// Whether what happened to a node may make it take a pod that those filters refused.
    pub(super) fn may_help(
        &self,
        pod: &PodInfo,
        by: Refusers,
        node: &NodeInfo,
        news: News,
        scene: Scene<'_>,
    ) -> bool {
        let mut filters = self.filters.iter().enumerate().filter(|(index, _)| by.contains(*index));
        // Who was refused by nobody waits for any node at all.
        by == Refusers::default() || filters.any(|(_, filter)| filter.may_accept(pod, node, news, scene))
    }

    /// Whether what happened to objects that are no nodes may help a pod that those filters refused.
    pub(super) fn may_be_helped(&self, pod: &PodInfo, by: Refusers, changes: &Changes) -> bool {
        let mut filters = self.filters.iter().enumerate().filter(|(index, _)| by.contains(*index));
        filters.any(|(_, filter)| filter.heeds(pod, changes))
    }

    /// Their names, as Kubernetes has them.
    pub(super) fn names(&self, of: Refusers) -> Vec<&'static str> {
        let filters = self.filters.iter().enumerate().filter(|(index, _)| of.contains(*index));
        filters.map(|(_, filter)| filter.name()).collect()
    }

    fn names_of(&self, filters: &[usize]) -> Vec<&'static str> {
        let mut names: Vec<&str> = filters.iter().map(|index| self.filters[*index].name()).collect();
        names.sort_unstable();
        names
    }

    /// So many nodes of `count` that can take a pod are enough to find the best of.
    pub(super) fn enough(&self, count: usize) -> usize {
        if count < FEW {
            return count.max(1);
        }
        // The more there are, the smaller the part: it is large all the same.
        let percentage = self.percentage.unwrap_or_else(|| 50_usize.saturating_sub(count / 125).max(5));
        if percentage >= 100 { count } else { (count * percentage / 100).max(FEW) }
    }

    /// What every node is worth that no filter refused, in the sum.
    pub(super) fn sums(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let mut sums = vec![0; nodes.len()];
        for (plugin, weight) in &self.scores {
            let Some(scores) = plugin.scores(pod, scene, nodes) else { continue };
            debug_assert!(
                scores.len() == nodes.len() && scores.iter().all(|score| (0..=FULL).contains(score)),
                "{} gives {scores:?}",
                plugin.name()
            );
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score * weight);
        }
        sums
    }

    fn best(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Choice> {
        let (node, score) = match nodes {
            [] => return None,
            [node] => (*node, 0),
            nodes => {
                let sums = self.sums(pod, scene, nodes);
                // The last of equal maxima wins, so they are looked at from the end.
                let (place, sum) = sums.iter().enumerate().rev().max_by_key(|(_, sum)| **sum)?;
                (nodes[place], *sum)
            }
        };
        // It was not refused: there is a plan.
        let plan = match pod.claims.is_empty() {
            true => Plan::default(),
            false => {
                let sorted = scene.volumes.sort(pod).ok();
                sorted.and_then(|sorted| scene.volumes.plan(&sorted, &node.facts).ok()).unwrap_or_default()
            }
        };
        let devices = match pod.devices.is_empty() {
            true => Vec::new(),
            false => {
                let sorted = scene.devices.sort(pod).ok();
                sorted.and_then(|sorted| scene.devices.allot(&sorted, &node.facts).ok()).unwrap_or_default()
            }
        };
        Some(Choice { node: node.name().clone(), plan: Plan { devices, ..plan }, score })
    }
}

impl Questions<'_> {
    /// Who refuses a node, and why: with those there that others made room for, and without them.
    pub(super) fn refusal(
        &mut self,
        pod: &PodInfo,
        node: &NodeInfo,
        scene: Scene<'_>,
    ) -> Option<(usize, Refusal)> {
        let guests = scene.guests_before(pod, node);
        if !guests.is_empty() {
            let mut with = node.clone();
            for guest in &guests {
                self.shift(node, &guest.share, 1);
                with.taken.add(&guest.share);
            }
            let refused = self.first(&with);
            guests.iter().for_each(|guest| self.shift(node, &guest.share, -1));
            if refused.is_some() {
                return refused;
            }
        }
        self.first(node)
    }

    /// Counts a pod on a node so many times more.
    pub(super) fn shift(&mut self, node: &NodeInfo, share: &Share, by: i64) {
        self.filters.iter_mut().for_each(|(_, filter)| filter.shift(node, share, by));
    }

    fn first(&self, node: &NodeInfo) -> Option<(usize, Refusal)> {
        self.filters.iter().find_map(|(index, filter)| Some((*index, filter.refuses(node)?)))
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

impl FromIterator<Refusers> for Refusers {
    fn from_iter<I: IntoIterator<Item = Refusers>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |bits, refusers| bits | refusers.0))
    }
}

/// A node by its name.
pub(super) fn find<'a>(nodes: &'a [NodeInfo], name: &str) -> Option<&'a NodeInfo> {
    place(nodes, name).map(|place| &nodes[place])
}

fn place(nodes: &[NodeInfo], name: &str) -> Option<usize> {
    nodes.binary_search_by(|node| (**node.name()).cmp(name)).ok()
}

/// Scores in proportion to the most: the most gets all, or nothing if the least is best.
pub(super) fn in_proportion(scores: &mut [i64], least_is_best: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let part = if most == 0 { *score } else { score.saturating_mul(FULL) / most };
        *score = (if least_is_best { FULL - part } else { part }).clamp(0, FULL);
    }
}

type Histogram = BTreeMap<Cow<'static, str>, usize>;

#[cfg(test)]
mod tests;

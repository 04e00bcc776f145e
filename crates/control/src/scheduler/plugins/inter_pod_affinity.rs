//! Which pods must be near to each other and which must not, and which would rather be.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::scheduler::cache::Whom;
use crate::scheduler::configuration::{Affinity, Profile};
use crate::scheduler::framework::{FULL, Filter, NodeFilter, Prepared, Refusal, Scene, Score};
use crate::scheduler::neighbour::{NamespaceLabels, Neighbour, Term};
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::{PodInfo, Share};

/// Refuses nodes near to which are pods that the pod must not be near to, or that must not be near to it, or
/// near to which none are that it must be near to; prefers those near to which most are that it, or they,
/// would rather have it.
pub(super) struct InterPodAffinity {
    said: Affinity,
}

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const TOO_NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const AVOIDED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

impl InterPodAffinity {
    pub(super) fn of(profile: &Profile) -> Self {
        Self { said: profile.affinity }
    }
}

/// How many pods are at the values of labels of nodes, by the label: what is near to somebody.
#[derive(Default)]
struct Places {
    counts: HashMap<Box<str>, HashMap<Box<str>, i64>>,
    total: i64,
}

impl Places {
    /// Adds pods that are near to a node by the label `key`, which it may lack.
    fn add(&mut self, key: &str, node: &NodeInfo, count: i64) {
        let Some(value) = node.facts.labels.get(key) else { return };
        self.total += count;
        if !self.counts.contains_key(key) {
            self.counts.insert(key.into(), HashMap::new());
        }
        let Some(places) = self.counts.get_mut(key) else { return };
        match places.get_mut(value.as_str()) {
            Some(known) => *known += count,
            None => drop(places.insert(value.as_str().into(), count)),
        }
    }

    fn have(&self, key: &str, node: &NodeInfo) -> bool {
        let count = || self.counts.get(key)?.get(node.facts.labels.get(key)?.as_str());
        count().is_some_and(|count| *count > 0)
    }

    /// By whatever label.
    fn have_any(&self, node: &NodeInfo) -> bool {
        self.total > 0 && self.counts.keys().any(|key| self.have(key, node))
    }
}

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn listens(&self) -> News {
        let nodes = News::NODE_ADDED | News::NODE_GONE | News::NODE_LABELS;
        nodes | News::POD_LEFT | News::POD_CAME | News::POD_LABELS | News::NAMESPACE_LABELS
    }

    /// What happens on one node may open another that is near to it; who comes opens none to a pod that has
    /// to be near to nobody.
    fn may_accept(&self, pod: &PodInfo, _: &NodeInfo, news: News, _: Scene<'_>) -> bool {
        match pod.share.neighbour.needs.is_empty() {
            true => self.listens().without(News::POD_CAME).meets(news),
            false => self.listens().meets(news),
        }
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Prepared<'a> {
        let own = &*pod.share.neighbour;
        let mut near = Nearness::new(own, scene.namespaces);
        let asks = !own.needs.is_empty() || !own.avoids.is_empty();
        let whom = if asks { Whom::Everybody } else { Whom::Minding };
        let terms = Nearness::new(own, scene.namespaces);
        scene.visit(
            whom,
            |other| terms.concerns(other),
            |other, node, count| {
                near.count(node, other, i64::try_from(count.all).unwrap_or(i64::MAX));
            },
        );
        // Guests may be counted later that avoid it.
        if !asks && near.avoiding.counts.is_empty() && scene.guests.is_empty() {
            return Prepared::skip();
        }
        Prepared::asks(near)
    }
}

/// Who is near to which nodes, as far as it matters to a pod.
struct Nearness<'a> {
    own: &'a Neighbour,
    namespaces: &'a NamespaceLabels,
    /// Those that must not have it near.
    avoiding: Places,
    /// Those that it must not have near.
    avoided: Places,
    /// Those of which it must have one near.
    near: Places,
}

impl<'a> Nearness<'a> {
    /// Of nobody yet.
    fn new(own: &'a Neighbour, namespaces: &'a NamespaceLabels) -> Self {
        let (avoiding, avoided, near) = (Places::default(), Places::default(), Places::default());
        Self { own, namespaces, avoiding, avoided, near }
    }

    /// Whether others matter at all.
    fn concerns(&self, other: &Neighbour) -> bool {
        let wanted = &self.own.needs;
        other.avoids.iter().any(|term| term.finds(self.own, self.namespaces))
            || self.own.avoids.iter().any(|term| term.finds(other, self.namespaces))
            || (!wanted.is_empty() && wanted.iter().all(|term| term.finds(other, self.namespaces)))
    }

    /// Counts pods that are there.
    fn count(&mut self, node: &NodeInfo, other: &Neighbour, count: i64) {
        for term in other.avoids.iter().filter(|term| term.finds(self.own, self.namespaces)) {
            self.avoiding.add(&term.topology_key, node, count);
        }
        for term in self.own.avoids.iter().filter(|term| term.finds(other, self.namespaces)) {
            self.avoided.add(&term.topology_key, node, count);
        }
        let wanted = &self.own.needs;
        // Who is wanted is found by all that is said of it.
        if !wanted.is_empty() && wanted.iter().all(|term| term.finds(other, self.namespaces)) {
            wanted.iter().for_each(|term| self.near.add(&term.topology_key, node, count));
        }
    }
}

impl NodeFilter for Nearness<'_> {
    fn refuses(&self, node: &NodeInfo) -> Option<Refusal> {
        let wanted = &self.own.needs;
        // The first of those who want each other near has nobody to be near to.
        let first = !wanted.is_empty()
            && self.near.total == 0
            && wanted.iter().all(|term| term.finds(self.own, self.namespaces));
        let has_place = |term: &Term| node.facts.labels.contains_key(&term.topology_key);
        let is_near = |term: &Term| self.near.have(&term.topology_key, node) || (first && has_place(term));
        let keeps_off = |term: &Term| !self.avoided.have(&term.topology_key, node);
        match () {
            () if !wanted.iter().all(is_near) => Some(Refusal::hopeless(NOT_NEAR)),
            () if !self.own.avoids.iter().all(keeps_off) => Some(Refusal::for_now(TOO_NEAR)),
            () => super::not_now_if(self.avoiding.have_any(node), AVOIDED),
        }
    }

    fn shift(&mut self, node: &NodeInfo, share: &Share, by: i64) {
        self.count(node, &share.neighbour, by);
    }
}

impl Score for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    /// The weights of all pods near to a node that are leant to or lean, between the least and the most of all
    /// nodes.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let namespaces = scene.namespaces;
        let own = &*pod.share.neighbour;
        if own.leanings.is_empty() && self.said.ignores_others {
            return None;
        }
        let mut weights: HashMap<&str, HashMap<&str, i64>> = HashMap::new();
        let whom = if own.leanings.is_empty() { Whom::Minding } else { Whom::Everybody };
        let said = self.said;
        // How much each label of a node counts near to which a pod is.
        let of_pod = |other: &Neighbour| -> Vec<(String, i64)> {
            let wanted = own.leanings.iter().filter(|(_, term)| term.finds(other, namespaces));
            let others = other.leanings.iter().filter(|_| !said.ignores_others);
            let others = others.filter(|(_, term)| term.finds(own, namespaces));
            let needing = other.needs.iter().filter(|_| said.hard_weight > 0);
            let needing = needing.filter(|term| term.finds(own, namespaces));
            let leaning = wanted.chain(others).map(|(weight, term)| (term.topology_key.clone(), *weight));
            leaning.chain(needing.map(|term| (term.topology_key.clone(), said.hard_weight))).collect()
        };
        // Who is shown was asked about just before.
        let terms = RefCell::new(Vec::new());
        let meant = |other: &Neighbour| {
            let found = of_pod(other);
            let any = !found.is_empty();
            terms.replace(found);
            any
        };
        scene.visit(whom, meant, |_, node, count| {
            for (key, weight) in terms.borrow().iter() {
                if let Some((key, value)) = node.facts.labels.get_key_value(key) {
                    let count = i64::try_from(count.all).unwrap_or(i64::MAX);
                    let sum = weights.entry(key).or_default().entry(value).or_default();
                    *sum = sum.saturating_add(weight.saturating_mul(count));
                }
            }
        });
        if weights.is_empty() {
            return None;
        }
        let sum = |node: &&NodeInfo| {
            let near = weights
                .iter()
                .filter_map(|(key, of_values)| of_values.get(node.facts.labels.get(*key)?.as_str()).copied());
            near.fold(0i64, i64::saturating_add)
        };
        let sums: Vec<i64> = nodes.iter().map(sum).collect();
        let (least, most) =
            (sums.iter().copied().min().unwrap_or(0), sums.iter().copied().max().unwrap_or(0));
        let spread = i128::from(most) - i128::from(least);
        let score = |sum: &i64| {
            let over = i128::from(*sum) - i128::from(least);
            if spread > 0 { (FULL as f64 * (over as f64 / spread as f64)) as i64 } else { 0 }
        };
        Some(sums.iter().map(score).collect())
    }
}

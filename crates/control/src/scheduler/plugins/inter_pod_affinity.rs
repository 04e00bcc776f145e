//! Which pods must be near to each other and which must not, and which would rather be.

use std::collections::{HashMap, HashSet};

use crate::scheduler::framework::{FULL, Filter, NodeFilter, Scene, Score};
use crate::scheduler::neighbour::Term;
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes near to which are pods that the pod must not be near to, or that must not be near to it, or
/// near to which none are that it must be near to; prefers those near to which most are that it, or they,
/// would rather have it.
pub(super) struct InterPodAffinity;

/// How much it counts that a pod which is there must have this one near.
const NEEDED: i64 = 1;

/// Values of labels of nodes, by the label: what is near to somebody.
#[derive(Default)]
struct Places<'a>(HashMap<&'a str, HashSet<&'a str>>);

impl<'a> Places<'a> {
    /// Adds what is near to a node by the label `key`, which it may lack.
    fn add(&mut self, key: &'a str, node: &'a NodeInfo) {
        if let Some(value) = node.facts.labels.get(key) {
            self.0.entry(key).or_default().insert(value);
        }
    }

    fn have(&self, key: &str, node: &NodeInfo) -> bool {
        let places = self.0.get(key);
        node.facts.labels.get(key).is_some_and(|value| places.is_some_and(|places| places.contains(&**value)))
    }

    /// By whatever label.
    fn have_any(&self, node: &NodeInfo) -> bool {
        self.0.keys().any(|key| self.have(key, node))
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
    fn may_accept(&self, pod: &PodInfo, _: &NodeInfo, news: News) -> bool {
        match pod.share.neighbour.needs.is_empty() {
            true => self.listens().without(News::POD_CAME).meets(news),
            false => self.listens().meets(news),
        }
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, scene: Scene<'a>) -> Option<NodeFilter<'a>> {
        let Scene { nodes, namespaces } = scene;
        let own = &*pod.share.neighbour;
        let wanted = &own.needs;
        let mut avoiding = Places::default();
        for node in nodes.iter().filter(|node| node.taken.avoiding > 0) {
            let terms = node.taken.neighbours.keys().flat_map(|neighbour| &neighbour.avoids);
            let found = terms.filter(|term| term.finds(own, namespaces));
            found.for_each(|term| avoiding.add(&term.topology_key, node));
        }
        if wanted.is_empty() && own.avoids.is_empty() {
            if avoiding.0.is_empty() {
                return None;
            }
            return Some(Box::new(move |node| super::refuse_if(avoiding.have_any(node), AVOIDED)));
        }
        let (mut avoided, mut near) = (Places::default(), Places::default());
        for (node, neighbour) in
            nodes.iter().flat_map(|node| node.taken.neighbours.keys().map(move |n| (node, n)))
        {
            let found = own.avoids.iter().filter(|term| term.finds(neighbour, namespaces));
            found.for_each(|term| avoided.add(&term.topology_key, node));
            // Who is wanted is found by all that is said of it.
            if !wanted.is_empty() && wanted.iter().all(|term| term.finds(neighbour, namespaces)) {
                wanted.iter().for_each(|term| near.add(&term.topology_key, node));
            }
        }
        // The first of those who want each other near has nobody to be near to.
        let first = near.0.is_empty() && wanted.iter().all(|term| term.finds(own, namespaces));
        Some(Box::new(move |node| {
            let has_place = |term: &Term| node.facts.labels.contains_key(&term.topology_key);
            let is_near = |term: &Term| near.have(&term.topology_key, node) || (first && has_place(term));
            let keeps_off = |term: &Term| !avoided.have(&term.topology_key, node);
            match () {
                () if !wanted.iter().all(is_near) => super::refuse_if(true, NOT_NEAR),
                () if !own.avoids.iter().all(keeps_off) => super::refuse_if(true, TOO_NEAR),
                () => super::refuse_if(avoiding.have_any(node), AVOIDED),
            }
        }))
    }
}

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const TOO_NEAR: &str = "node(s) didn't match pod anti-affinity rules";
const AVOIDED: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

impl Score for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The weights of all pods near to a node that are leant to or lean, between the least and the most of all
    /// nodes.
    fn scores(&self, pod: &PodInfo, scene: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let Scene { nodes: all, namespaces } = scene;
        let own = &*pod.share.neighbour;
        let counts = |node: &&NodeInfo| !own.leanings.is_empty() || node.taken.leaning > 0;
        let mut weights: HashMap<&str, HashMap<&str, i64>> = HashMap::new();
        for node in all.iter().filter(counts) {
            let mut add = |term: &Term, weight: i64, count: usize| {
                if let Some((key, value)) = node.facts.labels.get_key_value(&term.topology_key) {
                    let count = i64::try_from(count).unwrap_or(i64::MAX);
                    let sum = weights.entry(key).or_default().entry(value).or_default();
                    *sum = sum.saturating_add(weight.saturating_mul(count));
                }
            };
            for (neighbour, count) in &node.taken.neighbours {
                for (weight, term) in
                    own.leanings.iter().filter(|(_, term)| term.finds(neighbour, namespaces))
                {
                    add(term, *weight, *count);
                }
                for (weight, term) in
                    neighbour.leanings.iter().filter(|(_, term)| term.finds(own, namespaces))
                {
                    add(term, *weight, *count);
                }
                for term in neighbour.needs.iter().filter(|term| term.finds(own, namespaces)) {
                    add(term, NEEDED, *count);
                }
            }
        }
        if weights.is_empty() {
            return vec![0; nodes.len()];
        }
        let sum = |node: &&NodeInfo| {
            let near = weights
                .iter()
                .filter_map(|(key, of_values)| of_values.get(node.facts.labels.get(*key)?.as_str()).copied());
            near.fold(0i64, i64::saturating_add)
        };
        let sums: Vec<i128> = nodes.iter().map(|node| sum(node).into()).collect();
        let (least, most) =
            (sums.iter().copied().min().unwrap_or(0), sums.iter().copied().max().unwrap_or(0));
        let spread = (most - least).max(1);
        let score = |sum: &i128| i64::try_from(i128::from(FULL) * (sum - least) / spread).unwrap_or(0);
        sums.iter().map(score).collect()
    }
}

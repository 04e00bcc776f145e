//! Which pods must be near to each other, and which must not.
//!
//! Only what is required counts here; what is preferred has no score yet.

use std::collections::HashSet;

use crate::scheduler::framework::{Filter, NodeFilter};
use crate::scheduler::neighbour::Term;
use crate::scheduler::news::News;
use crate::scheduler::node::NodeInfo;
use crate::scheduler::pod::PodInfo;

/// Refuses nodes near to which are pods that the pod must not be near to, or that must not be near to it, or
/// near to which none are that it must be near to.
pub(super) struct InterPodAffinity;

/// Values of a label of nodes: what is near to somebody.
#[derive(Default)]
struct Places<'a>(HashSet<(&'a str, &'a str)>);

impl<'a> Places<'a> {
    /// Adds what is near to a node by the label `key`, which it may lack.
    fn add(&mut self, key: &'a str, node: &'a NodeInfo) {
        if let Some(value) = node.facts.labels.get(key) {
            self.0.insert((key, value));
        }
    }

    fn have(&self, key: &str, node: &NodeInfo) -> bool {
        node.facts.labels.get(key).is_some_and(|value| self.0.contains(&(key, value.as_str())))
    }

    /// By whatever label.
    fn have_any(&self, node: &NodeInfo) -> bool {
        self.0.iter().any(|(key, value)| node.facts.labels.get(*key).is_some_and(|found| found == value))
    }
}

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn listens(&self) -> News {
        let nodes = News::NODE_ADDED | News::NODE_GONE | News::NODE_LABELS;
        nodes | News::POD_LEFT | News::POD_CAME | News::POD_LABELS
    }

    /// What happens on one node may open another that is near to it.
    fn may_accept(&self, _: &PodInfo, _: &NodeInfo, news: News) -> bool {
        self.listens().meets(news)
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, nodes: &'a [NodeInfo]) -> Option<NodeFilter<'a>> {
        let (own, wanted) = (&*pod.share.neighbour, &pod.wants_near);
        let mut avoiding = Places::default();
        for node in nodes.iter().filter(|node| node.taken.avoiding > 0) {
            let terms = node.taken.neighbours.keys().flat_map(|neighbour| &neighbour.avoids);
            terms.filter(|term| term.finds(own)).for_each(|term| avoiding.add(&term.topology_key, node));
        }
        if wanted.is_empty() && own.avoids.is_empty() {
            if avoiding.0.is_empty() {
                return None;
            }
            return Some(Box::new(move |node| super::refuse_if(avoiding.have_any(node), AVOIDED)));
        }
        if wanted.iter().chain(&own.avoids).any(Term::is_unknown) {
            return Some(Box::new(|_| super::refuse_if(true, UNKNOWN)));
        }
        let (mut avoided, mut near) = (Places::default(), Places::default());
        for (node, neighbour) in
            nodes.iter().flat_map(|node| node.taken.neighbours.keys().map(move |n| (node, n)))
        {
            let found = own.avoids.iter().filter(|term| term.finds(neighbour));
            found.for_each(|term| avoided.add(&term.topology_key, node));
            // Who is wanted is found by all that is said of it.
            if !wanted.is_empty() && wanted.iter().all(|term| term.finds(neighbour)) {
                wanted.iter().for_each(|term| near.add(&term.topology_key, node));
            }
        }
        // The first of those who want each other near has nobody to be near to.
        let first = near.0.is_empty() && wanted.iter().all(|term| term.finds(own));
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
const UNKNOWN: &str = "node(s) could not be looked at, since a namespaceSelector of pod (anti-)affinity asks for other labels than kubernetes.io/metadata.name";

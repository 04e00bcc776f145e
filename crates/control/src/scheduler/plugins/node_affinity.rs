//! What a pod says about the labels of its node: `nodeSelector` and node affinity.

use std::collections::HashSet;

use k8s_openapi::api::core::v1::{
    NodeAffinity as Affinity, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

use crate::scheduler::configuration::Profile;
use crate::scheduler::framework::{Filter, Prepared, Refusal, Scene, Score, in_proportion};
use crate::scheduler::news::News;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that lack what the pod requires, and prefers those that have what it prefers; the same for what
/// is required and preferred of all.
pub(super) struct NodeAffinity {
    added: Option<Box<Affinity>>,
}

const NOT_ADDED: &str = "node(s) didn't match scheduler-enforced node affinity";
const NOT_MATCHED: &str = "node(s) didn't match Pod's node affinity/selector";
const CONFLICT: &str = "pod affinity terms conflict";

impl NodeAffinity {
    pub(super) fn of(profile: &Profile) -> Self {
        Self { added: profile.added_affinity.clone() }
    }
}

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    /// Of labels that are selected one by one it can be said.
    fn cure(&self, pod: &PodInfo, node: &NodeInfo) -> Option<String> {
        let labels = &node.facts.labels;
        let (key, wanted) = pod.node_selector.iter().find(|(key, value)| labels.get(key) != Some(value))?;
        Some(match labels.get(key) {
            Some(value) => format!("the label {key} of the node is {value}, and has to be {wanted}"),
            None => format!("the node has to have the label {key}={wanted}"),
        })
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_LABELS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        let added = self.added.as_deref().and_then(|added| required_by(added).map(<[_]>::to_vec));
        let required = required(pod);
        if pod.node_selector.is_empty() && required.is_none() && added.is_none() {
            return Prepared::skip();
        }
        let only = required.and_then(named);
        if only.as_ref().is_some_and(HashSet::is_empty) {
            return Prepared::refused(Refusal::hopeless(CONFLICT));
        }
        let filter = move |node: &NodeInfo| {
            if added.as_ref().is_some_and(|terms| !matches_any(terms, &node.facts)) {
                return Some(Refusal::hopeless(NOT_ADDED));
            }
            super::never_if(!is_met_by(pod, &node.facts), NOT_MATCHED)
        };
        Prepared { only, ..Prepared::asks(filter) }
    }
}

/// Whether a node is one of those that the pod requires.
pub(super) fn is_met_by(pod: &PodInfo, facts: &NodeFacts) -> bool {
    let selected = || pod.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
    required(pod).is_none_or(|terms| matches_any(terms, facts)) && selected()
}

/// Whether a node is what one of several terms asks for.
pub(in crate::scheduler) fn matches_any(terms: &[NodeSelectorTerm], facts: &NodeFacts) -> bool {
    terms.iter().any(|term| is_met(term, facts))
}

fn required(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    required_by(pod.node_affinity.as_deref()?)
}

fn required_by(affinity: &Affinity) -> Option<&[NodeSelectorTerm]> {
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

/// The nodes that terms name, if each names some.
fn named(terms: &[NodeSelectorTerm]) -> Option<HashSet<Box<str>>> {
    let mut all: Option<HashSet<Box<str>>> = None;
    for term in terms {
        let fields = term.match_fields.iter().flatten();
        let names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
        let sets = names.map(|field| -> HashSet<Box<str>> {
            field.values.iter().flatten().map(|name| name.as_str().into()).collect()
        });
        let names = sets.reduce(|one, other| one.intersection(&other).cloned().collect())?;
        all.get_or_insert_default().extend(names);
    }
    all
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    /// The weights of what is met, in proportion to the best node.
    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let (own, added) = (preferred(pod.node_affinity.as_deref()), preferred(self.added.as_deref()));
        if own.is_empty() && added.is_empty() {
            return None;
        }
        let sum = |node: &&NodeInfo| preference(own, &node.facts) + preference(added, &node.facts);
        let mut scores: Vec<i64> = nodes.iter().map(sum).collect();
        in_proportion(&mut scores, false);
        Some(scores)
    }
}

fn preferred(affinity: Option<&Affinity>) -> &[PreferredSchedulingTerm] {
    let preferred = affinity
        .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref());
    preferred.unwrap_or_default()
}

/// How much of what is preferred a node has, as a sum of weights.
fn preference(preferred: &[PreferredSchedulingTerm], facts: &NodeFacts) -> i64 {
    let met = preferred.iter().filter(|term| is_met(&term.preference, facts));
    met.map(|term| i64::from(term.weight)).sum()
}

/// A term without any requirement is met by no node.
fn is_met(term: &NodeSelectorTerm, facts: &NodeFacts) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| facts.labels.get(key).map(String::as_str);
    labels.iter().all(|requirement| holds(requirement, label(&requirement.key)))
        && fields
            .iter()
            .all(|requirement| requirement.key == "metadata.name" && holds(requirement, Some(&facts.name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|value| values.iter().any(|known| known == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let compared = || number(value).zip(number(values.first().map(String::as_str)));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(value, bound)| value > bound),
        "Lt" => compared().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

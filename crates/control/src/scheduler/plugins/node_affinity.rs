//! What a pod says about the labels of its node: `nodeSelector` and node affinity.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm};

use crate::scheduler::framework::{FULL, Filter, NodeFilter, Scene, Score};
use crate::scheduler::news::News;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::PodInfo;

/// Refuses nodes that lack what the pod requires, and prefers those that have what it prefers.
pub(super) struct NodeAffinity;

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_LABELS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Option<NodeFilter<'a>> {
        if pod.node_selector.is_empty() && required(pod).is_none() {
            return None;
        }
        Some(Box::new(move |node| {
            super::refuse_if(
                !is_met_by(pod, &node.facts),
                "node(s) didn't match Pod's node affinity/selector",
            )
        }))
    }
}

/// Whether a node is one of those that the pod requires.
pub(super) fn is_met_by(pod: &PodInfo, facts: &NodeFacts) -> bool {
    let selected = || pod.node_selector.iter().all(|(key, value)| facts.labels.get(key) == Some(value));
    required(pod).is_none_or(|terms| terms.iter().any(|term| is_met(term, facts))) && selected()
}

fn required(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let affinity = pod.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&required.node_selector_terms)
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn weight(&self) -> i64 {
        2
    }

    /// The weights of what is met, in proportion to the best node.
    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let preferred = pod
            .node_affinity
            .as_ref()
            .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref())
            .unwrap_or_default();
        let sums: Vec<i64> = nodes.iter().map(|node| preference(preferred, &node.facts)).collect();
        let most = sums.iter().copied().max().unwrap_or(0).max(1);
        sums.into_iter().map(|sum| (sum.saturating_mul(FULL) / most).clamp(0, FULL)).collect()
    }
}

/// How much of what the pod prefers a node has, as a sum of weights.
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

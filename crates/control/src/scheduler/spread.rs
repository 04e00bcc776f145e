//! What a pod says of how evenly those like it are to be spread.

use k8s_openapi::api::core::v1::{Pod, TopologySpreadConstraint};
use model::select::LabelSelector;
use model::select::label::{Requirement, Test};

use super::neighbour::Neighbour;
use super::node::NodeInfo;

/// One constraint.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Constraint {
    /// The label of nodes whose values are the places that pods are spread over.
    pub(super) topology_key: String,
    /// So many more than where there are fewest may be at one place.
    pub(super) max_skew: i64,
    /// With fewer places than that there is always one without any.
    pub(super) min_domains: i64,
    /// Whether it must be kept, or is a wish.
    pub(super) hard: bool,
    /// Whether nodes that the pod's own affinity excludes do not count.
    pub(super) honours_affinity: bool,
    /// Whether nodes do not count that have taints which the pod does not tolerate.
    pub(super) honours_taints: bool,
    selector: LabelSelector,
}

/// A constraint for pods that have none, without whom it counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct DefaultConstraint {
    pub(super) topology_key: String,
    pub(super) max_skew: i64,
    pub(super) hard: bool,
}

impl Constraint {
    /// All that a pod has.
    pub(super) fn all(pod: &Pod) -> Vec<Self> {
        let constraints = pod.spec.iter().flat_map(|spec| spec.topology_spread_constraints.iter().flatten());
        constraints.map(|constraint| Self::of(pod, constraint)).collect()
    }

    fn of(pod: &Pod, constraint: &TopologySpreadConstraint) -> Self {
        let none = LabelSelector::nothing;
        let selector = constraint.label_selector.as_ref().map_or_else(none, |selector| {
            // One that cannot be read is not let in by the API.
            crate::selector(selector).unwrap_or_else(none)
        });
        // What the pod itself has of these labels is part of what is asked for.
        let labels = pod.metadata.labels.as_ref();
        let value = |key: &String| Some((key.clone(), labels?.get(key)?.clone()));
        let own = constraint.match_label_keys.iter().flatten().filter_map(value);
        let more: Vec<Requirement> =
            own.map(|(key, value)| Requirement { key, test: Test::Equals(value) }).collect();
        let selector = match constraint.label_selector.is_some() && !more.is_empty() {
            true => selector.requirements().iter().cloned().chain(more).collect(),
            false => selector,
        };
        Self {
            topology_key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew.into(),
            min_domains: constraint.min_domains.unwrap_or(1).into(),
            hard: constraint.when_unsatisfiable != "ScheduleAnyway",
            honours_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honours_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
            selector,
        }
    }

    /// One that a pod has which says nothing itself.
    pub(super) fn by_default(default: &DefaultConstraint, selector: LabelSelector) -> Self {
        Self {
            topology_key: default.topology_key.clone(),
            max_skew: default.max_skew,
            min_domains: 1,
            hard: default.hard,
            honours_affinity: true,
            honours_taints: false,
            selector,
        }
    }

    /// Whether a pod of its namespace that has a node is one of those that it counts: a selector that
    /// asks for nothing counts nobody.
    pub(super) fn counts(&self, other: &Neighbour) -> bool {
        !self.selector.requirements().is_empty() && self.selects(other)
    }

    /// Whether its selector matches a pod.
    pub(super) fn selects(&self, other: &Neighbour) -> bool {
        self.selector.match_values(|key| other.labels.get(key).map(String::as_str))
    }

    /// The place that a node is at, if any.
    pub(super) fn place<'a>(&self, node: &'a NodeInfo) -> Option<&'a str> {
        node.facts.labels.get(&self.topology_key).map(String::as_str)
    }
}

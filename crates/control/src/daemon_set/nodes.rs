//! On which nodes the pods of a DaemonSet run.

use std::collections::BTreeMap;

use client::{Outline, Resource as _};
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

/// What is looked at of all nodes, besides their names and labels.
#[derive(Debug)]
pub(crate) struct NodeOutline {
    taints: Box<[Taint]>,
}

impl Outline<Node> for NodeOutline {
    fn of(node: &Node) -> Self {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        Self { taints: taints.into_iter().flatten().cloned().collect() }
    }
}

/// Whether two states of a node are the same to every DaemonSet.
pub(super) fn is_same(one: &Node, other: &Node) -> bool {
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    one.uid() == other.uid() && one.metadata.labels == other.metadata.labels && taints(one) == taints(other)
}

/// What a pod may do on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is to run there.
    Runs,
    /// It would not be put there, but may stay.
    Stays,
    /// It is not to be there.
    Never,
}

/// What pods of this spec, which has all its tolerations, may do on a node.
pub(super) fn fit(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>, node: &NodeOutline) -> Fit {
    let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
    if named.is_some_and(|named| named != name) || !is_selected(spec, name, labels) {
        return Fit::Never;
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let untolerated = |effect: &str| {
        let mut taints = node.taints.iter().filter(|taint| taint.effect == effect);
        taints.any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
    };
    if untolerated("NoExecute") {
        Fit::Never
    } else if untolerated("NoSchedule") {
        Fit::Stays
    } else {
        Fit::Runs
    }
}

/// Whether a node is one of those that a pod requires.
fn is_selected(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && required
            .is_none_or(|required| required.node_selector_terms.iter().any(|term| is_met(term, name, labels)))
}

/// A term without any requirement is met by no node.
fn is_met(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let label = |key: &str| labels.get(key).map(String::as_str);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| holds(one, label(&one.key)))
        && fields.iter().all(|one| one.key == "metadata.name" && holds(one, Some(name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_listed = value.is_some_and(|value| values.iter().any(|known| known == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let compared = number(value).zip(number(values.first().map(String::as_str)));
    match requirement.operator.as_str() {
        "In" => is_listed,
        "NotIn" => !is_listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(value, bound)| value > bound),
        "Lt" => compared.is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// What a toleration leaves empty it says of all.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let exists = toleration.operator.as_deref() == Some("Exists");
    said(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && said(&toleration.key).map_or(exists, |key| key == taint.key)
        && (exists || said(&toleration.value) == said(&taint.value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::daemon_set::pod;

    #[track_caller]
    fn check(spec: Value, taints: Value, expected: Fit) {
        let mut spec = spec;
        spec["containers"] = json!([]);
        let mut spec: PodSpec = serde_json::from_value(spec).expect("a spec");
        pod::tolerate(&mut spec);
        let node = json!({"metadata": {"name": "n1", "labels": {"disk": "ssd", "cores": "8"}},
                          "spec": {"taints": taints}});
        let node: Node = serde_json::from_value(node).expect("a node");
        assert_eq!(fit(&spec, "n1", &node.labels(), &NodeOutline::of(&node)), expected);
    }

    fn required(term: Value) -> Value {
        let terms = json!({"nodeSelectorTerms": [term]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    }

    #[test]
    fn a_node_is_chosen_by_its_name_its_labels_and_what_the_template_requires() {
        check(json!({}), json!([]), Fit::Runs);
        check(json!({"nodeName": "n1"}), json!([]), Fit::Runs);
        check(json!({"nodeName": "n2"}), json!([]), Fit::Never);
        check(json!({"nodeSelector": {"disk": "ssd"}}), json!([]), Fit::Runs);
        check(json!({"nodeSelector": {"disk": "hdd"}}), json!([]), Fit::Never);
        let label = |operator: &str, values: Value| {
            required(json!({"matchExpressions": [{"key": "cores", "operator": operator, "values": values}]}))
        };
        check(label("Gt", json!(["4"])), json!([]), Fit::Runs);
        check(label("Lt", json!(["4"])), json!([]), Fit::Never);
        check(label("NotIn", json!(["4"])), json!([]), Fit::Runs);
        check(label("DoesNotExist", json!([])), json!([]), Fit::Never);
        let field = |values: Value| {
            required(json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": values}]}))
        };
        check(field(json!(["n1", "n2"])), json!([]), Fit::Runs);
        check(field(json!(["n2"])), json!([]), Fit::Never);
        check(required(json!({})), json!([]), Fit::Never);
    }

    #[test]
    fn taints_keep_pods_away_but_for_those_that_every_daemon_puts_up_with() {
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect, "value": "v"}]);
        check(json!({}), taint("dedicated", "PreferNoSchedule"), Fit::Runs);
        check(json!({}), taint("dedicated", "NoSchedule"), Fit::Stays);
        check(json!({}), taint("dedicated", "NoExecute"), Fit::Never);
        let tolerations = |operator: &str, value: &str| json!({"tolerations": [{"key": "dedicated", "operator": operator, "value": value}]});
        check(tolerations("Exists", ""), taint("dedicated", "NoExecute"), Fit::Runs);
        check(tolerations("Equal", "v"), taint("dedicated", "NoSchedule"), Fit::Runs);
        check(tolerations("Equal", "w"), taint("dedicated", "NoSchedule"), Fit::Stays);
        for condition in ["not-ready", "unreachable"] {
            check(json!({}), taint(&format!("node.kubernetes.io/{condition}"), "NoExecute"), Fit::Runs);
            check(json!({}), taint(&format!("node.kubernetes.io/{condition}"), "NoSchedule"), Fit::Stays);
        }
        for condition in ["disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"] {
            check(json!({}), taint(&format!("node.kubernetes.io/{condition}"), "NoSchedule"), Fit::Runs);
        }
        let network = || taint("node.kubernetes.io/network-unavailable", "NoSchedule");
        check(json!({}), network(), Fit::Stays);
        check(json!({"hostNetwork": true}), network(), Fit::Runs);
    }
}

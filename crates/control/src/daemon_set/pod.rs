//! The pod of a node: what it puts up with, and where it is to go.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};

use crate::history::{self, Kept as _};
use crate::making;

/// How often the template had changed, as the API counts it: on the set, and on pods for whoever looks for it.
const GENERATION: &str = "deprecated.daemonset.template.generation";
const POD_GENERATION: &str = "pod-template-generation";
/// The field of a node that is its name.
const NAME: &str = "metadata.name";

/// What every pod of a DaemonSet puts up with: it is there for the node, whatever the node's condition.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// And one that has the node's network: the node's own may not be there yet.
const OF_HOST_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// Gives a pod the tolerations that every pod of a DaemonSet has.
pub(super) fn tolerate(spec: &mut PodSpec) {
    let of_host = spec.host_network.unwrap_or(false).then_some(OF_HOST_NETWORK);
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in TOLERATED.into_iter().chain(of_host) {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let is_same = |known: &&mut Toleration| {
            let unlimited = Toleration { toleration_seconds: None, ..(**known).clone() };
            unlimited == toleration
        };
        // Without the limit that somebody has set for it.
        match tolerations.iter_mut().find(is_same) {
            Some(known) => *known = toleration,
            None => tolerations.push(toleration),
        }
    }
}

/// The spec of the set's pods, wherever they run.
pub(super) fn spec(set: &DaemonSet) -> PodSpec {
    let mut spec = set.template().spec.clone().unwrap_or_default();
    tolerate(&mut spec);
    spec
}

/// The pod of a node, of the revision with this hash.
pub(super) fn make(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let mut pod = making::pod(set, set.template().clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    let generation = set.metadata.annotations.as_ref().and_then(|all| all.get(GENERATION));
    if let Some(generation) = generation.filter(|text| text.parse::<i64>().is_ok()) {
        labels.insert(POD_GENERATION.to_owned(), generation.clone());
    }
    labels.insert(history::REVISION.to_owned(), hash.to_owned());
    let mut spec = spec(set);
    // The scheduler puts it there. What the template requires of nodes is true of this one, and is replaced.
    let by_name = NodeSelectorRequirement {
        key: NAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    pod.spec = Some(spec);
    pod
}

/// The node that a pod is on, or is meant for.
pub(super) fn node(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.clone().filter(|name| !name.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let mut named = fields.into_iter().filter(|field| field.key == NAME && field.operator == "In");
    match named.next()?.values.as_deref() {
        Some([name]) => Some(name.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_is_meant_for_its_node_and_puts_up_with_the_nodes_conditions_for_ever() {
        let set = json!({
            "metadata": {"name": "log", "namespace": "n", "uid": "u", "annotations": {GENERATION: "3"}},
            "spec": {"selector": {}, "template": {"metadata": {"labels": {"app": "log"}}, "spec": {
                "containers": [], "hostNetwork": true,
                "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                                 "tolerationSeconds": 300}],
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}},
            }}},
        });
        let set: DaemonSet = serde_json::from_value(set).expect("a set");
        let pod = make(&set, "abc", "n1");
        assert_eq!(node(&pod).as_deref(), Some("n1"));
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("log-"));
        let labels = json!({"app": "log", "controller-revision-hash": "abc", "pod-template-generation": "3"});
        assert_eq!(json!(pod.metadata.labels), labels);
        let spec = serde_json::to_value(pod.spec).expect("JSON");
        let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
        let by_name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]});
        assert_eq!(spec.pointer(required), Some(&json!({ "nodeSelectorTerms": [by_name] })));
        let tolerations = spec["tolerations"].as_array().expect("tolerations");
        assert_eq!(tolerations.len(), 7);
        assert!(tolerations.iter().all(|toleration| toleration.get("tolerationSeconds").is_none()));
    }
}

//! Whether a pod that is bound to this node has a place on it. Whoever binds it is usually the scheduler, which has
//! looked; but anybody may, and two may at once.
//!
//! Reasons and messages are the kubelet's. Source:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/lifecycle/predicate.go>.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ContainerPort, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};

use super::Rejection;
use crate::eviction::EVICTED;
use crate::pod::groups::{all_requested, requested};
use crate::reserves::Amounts;

/// What a node gives to pods.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer {
    /// So many pods.
    pub pods: i64,
    /// Of its resources.
    pub amounts: Amounts,
}

/// The reasons of pods that had no place. One that was told so has none later either.
pub fn is_told(reason: &str) -> bool {
    reason.starts_with("OutOf") || ["NodePorts", "NodeAffinity", "TaintToleration", EVICTED].contains(&reason)
}

/// Refuses a pod that has no place beside `others`, those of the node that have not ended. What the node is like is
/// not looked at where nobody knows.
pub fn check(pod: &Pod, others: &[Arc<Pod>], node: Option<&Node>, offer: Offer) -> Result<(), Rejection> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    room(pod, others, offer)?;
    if node.is_some_and(|node| !is_wanted(spec, node)) {
        return Err(failed("NodeAffinity", "node(s) didn't match Pod's node affinity/selector"));
    }
    let taken: Vec<&ContainerPort> =
        others.iter().filter_map(|other| other.spec.as_ref()).flat_map(host_ports).collect();
    if host_ports(spec).any(|port| taken.iter().any(|other| collide(port, other))) {
        return Err(failed("NodePorts", "node(s) didn't have free ports for the requested pod ports"));
    }
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taints = node.and_then(|node| node.spec.as_ref()).and_then(|spec| spec.taints.as_deref());
    let mut hard = taints.unwrap_or_default().iter().filter(|taint| taint.effect == "NoExecute");
    if hard.any(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint))) {
        return Err(failed("TaintToleration", "node(s) had taints that the pod didn't tolerate"));
    }
    Ok(())
}

fn failed(predicate: &'static str, why: &str) -> Rejection {
    Rejection::new(predicate, format!("Predicate {predicate} failed: {why}"))
}

fn room(pod: &Pod, others: &[Arc<Pod>], offer: Offer) -> Result<(), Rejection> {
    let check = |name: &str, wanted: i64, used: i64, capacity: i64| {
        if wanted == 0 || wanted <= capacity.saturating_sub(used) {
            return Ok(());
        }
        let message = format!(
            "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: {capacity}"
        );
        Err(Rejection { reason: format!("OutOf{name}").into(), message })
    };
    check("pods", 1, i64::try_from(others.len()).unwrap_or(i64::MAX), offer.pods)?;
    let used =
        |name: &str| others.iter().fold(0_i64, |sum, other| sum.saturating_add(requested(other, name)));
    let Amounts { cpu, memory, storage, .. } = offer.amounts;
    for (name, capacity) in [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)] {
        let wanted = requested(pod, name);
        if wanted != 0 {
            check(name, wanted, used(name), capacity)?;
        }
    }
    // This node has no large pages; of what it does not know at all others may see to that.
    let named = all_requested(pod);
    let pages = named.keys().filter(|name| name.starts_with("hugepages-"));
    pages.into_iter().try_for_each(|name| check(name, requested(pod, name), 0, 0))
}

/// Whether the node is one that the pod asks for.
fn is_wanted(spec: &PodSpec, node: &Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    if spec.node_selector.iter().flatten().any(|(name, value)| labels.get(name) != Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| meets(term, node, labels)))
}

fn meets(term: &NodeSelectorTerm, node: &Node, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // A term that says nothing takes nothing.
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |requirement: &NodeSelectorRequirement| {
        let value = if requirement.key == "metadata.name" { node.metadata.name.as_deref() } else { None };
        holds(requirement, value)
    };
    expressions.iter().all(|it| holds(it, labels.get(&it.key).map(String::as_str)))
        && fields.iter().all(field)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|known| known == value);
    let number = |text: &str| text.parse::<i64>().ok();
    let bound = values.first().and_then(|bound| number(bound));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => value.and_then(number).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

/// Ports of the host that a pod takes.
fn host_ports(spec: &PodSpec) -> impl Iterator<Item = &ContainerPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.filter(|port| port.host_port.is_some_and(|port| port > 0))
}

fn collide(one: &ContainerPort, other: &ContainerPort) -> bool {
    let protocol = |port: &ContainerPort| port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let address = |port: &ContainerPort| {
        port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned())
    };
    let (ours, theirs) = (address(one), address(other));
    one.host_port == other.host_port
        && protocol(one) == protocol(other)
        && (ours == theirs || ours == "0.0.0.0" || theirs == "0.0.0.0")
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let key = filled(&toleration.key);
    if filled(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || key.as_ref().is_some_and(|key| *key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            let value = |value: &Option<String>| value.clone().unwrap_or_default();
            key.is_some() && value(&toleration.value) == value(&taint.value)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod"))
    }

    fn asking(requests: Value) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
    }

    /// Beside pods that ask for a processor and 100 bytes, on a node with two, 250 bytes and room for three pods.
    #[track_caller]
    fn check(spec: Value, others: usize, expected: &str) {
        let others: Vec<Arc<Pod>> = (0..others)
            .map(|_| {
                let mut spec = asking(json!({"cpu": "1", "memory": "100"}));
                spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 80}]);
                pod(spec)
            })
            .collect();
        let node: Node = serde_json::from_value(json!({
            "metadata": {"name": "n", "labels": {"disk": "ssd", "cores": "8"}},
            "spec": {"taints": [{"key": "soft", "effect": "NoSchedule"}, {"key": "hard", "value": "1", "effect": "NoExecute"}]},
        }))
        .expect("a node");
        let amounts = Amounts { cpu: 2000, memory: 250, storage: 1000, ..Amounts::default() };
        let mut spec = spec;
        if spec.get("tolerations").is_none() {
            spec["tolerations"] = json!([{"key": "hard", "operator": "Exists"}]);
        }
        let found = super::check(&pod(spec), &others, Some(&node), Offer { pods: 3, amounts });
        let found = found.err().map_or(String::new(), |it| format!("{}: {}", it.reason, it.message));
        assert_eq!(found, expected);
        assert_eq!(is_told(found.split(':').next().unwrap_or_default()), !found.is_empty());
    }

    #[test]
    fn a_pod_without_room_is_refused_in_the_kubelet_s_words() {
        check(asking(json!({"cpu": "1", "memory": "150"})), 1, "");
        check(
            asking(json!({"cpu": "1001m"})),
            1,
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 1001, used: 1000, capacity: 2000",
        );
        check(
            asking(json!({"memory": "151"})),
            1,
            "OutOfmemory: Node didn't have enough resource: memory, requested: 151, used: 100, capacity: 250",
        );
        check(
            asking(json!({"ephemeral-storage": "1001"})),
            0,
            "OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 1001, used: 0, capacity: 1000",
        );
        check(
            asking(json!({})),
            3,
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        );
        // Who asks for nothing has room where others have taken too much, and what nobody here knows is not missed.
        check(asking(json!({})), 2, "");
        check(asking(json!({"example.org/gpu": "1"})), 0, "");
        check(
            asking(json!({"hugepages-2Mi": "2Mi"})),
            0,
            "OutOfhugepages-2Mi: Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        );
    }

    #[test]
    fn a_pod_that_wants_another_node_is_refused() {
        let none =
            "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        let with = |name: &str, value: Value| {
            let mut spec = asking(json!({}));
            spec[name] = value;
            spec
        };
        check(with("nodeSelector", json!({"disk": "ssd"})), 0, "");
        check(with("nodeSelector", json!({"disk": "tape"})), 0, none);
        let affinity = |terms: Value| {
            let required =
                json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            with("affinity", json!({"nodeAffinity": required}))
        };
        let one = |key: &str, operator: &str, values: Value| {
            affinity(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        check(one("disk", "In", json!(["tape", "ssd"])), 0, "");
        check(one("disk", "NotIn", json!(["ssd"])), 0, none);
        check(one("disk", "Exists", json!([])), 0, "");
        check(one("disk", "DoesNotExist", json!([])), 0, none);
        check(one("cores", "Gt", json!(["7"])), 0, "");
        check(one("cores", "Lt", json!(["8"])), 0, none);
        check(one("cores", "Is", json!(["8"])), 0, none);
        check(affinity(json!([{}])), 0, none);
        let field = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        check(affinity(json!([field("m"), field("n")])), 0, "");
        check(affinity(json!([field("m")])), 0, none);
    }

    #[test]
    fn a_pod_is_refused_for_ports_that_are_taken_and_taints_that_it_does_not_put_up_with() {
        let ports = |ports: Value| json!({"containers": [{"name": "c", "ports": ports}]});
        let none = "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        check(ports(json!([{"containerPort": 80, "hostPort": 80}])), 0, "");
        check(ports(json!([{"containerPort": 80, "hostPort": 80}])), 1, none);
        check(ports(json!([{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}])), 1, none);
        check(ports(json!([{"containerPort": 80, "hostPort": 80, "protocol": "UDP"}])), 1, "");
        check(ports(json!([{"containerPort": 80}])), 1, "");
        let tolerating = |tolerations: Value| {
            let mut spec = asking(json!({}));
            spec["tolerations"] = tolerations;
            spec
        };
        let none = "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        check(tolerating(json!([])), 0, none);
        check(tolerating(json!([{"key": "hard", "value": "2"}])), 0, none);
        check(tolerating(json!([{"key": "hard", "value": "1", "effect": "NoSchedule"}])), 0, none);
        check(tolerating(json!([{"key": "hard", "value": "1", "effect": "NoExecute"}])), 0, "");
        check(tolerating(json!([{"operator": "Exists"}])), 0, "");
    }
}

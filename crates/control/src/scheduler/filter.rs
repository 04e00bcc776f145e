//! Which nodes could take a pod, and why the others cannot: pure. The words are Kubernetes' own.

use k8s_openapi::api::core::v1::{Pod, Taint, Toleration};

use super::affinity;
use super::snapshot::{HostPort, NodeView, host_ports, requests};

/// Why a node cannot take the pod; nothing if it can.
///
/// The filters are asked in order and the first that refuses speaks; only the one for resources
/// names several reasons at once.
pub(super) fn refusals(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let filters: [fn(&Pod, &NodeView<'_>) -> Vec<String>; 6] =
        [unschedulable, node_name, taints, node_affinity, ports, resources];
    filters.iter().map(|filter| filter(pod, node)).find(|reasons| !reasons.is_empty()).unwrap_or_default()
}

fn unschedulable(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let cordoned = node.node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    refuse(cordoned && !tolerates(pod, &taint), "node(s) were unschedulable")
}

fn node_name(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let wanted = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|name| !name.is_empty());
    refuse(wanted.is_some_and(|wanted| wanted != node.name()), "node(s) didn't match the requested node name")
}

fn taints(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let taints = node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let hard = taints.filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute");
    let untolerated = hard.into_iter().find(|taint| !tolerates(pod, taint));
    untolerated
        .map(|taint| {
            let value = taint.value.as_deref().unwrap_or_default();
            vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)]
        })
        .unwrap_or_default()
}

fn node_affinity(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    refuse(!affinity::is_required_met(pod, node.node), "node(s) didn't match Pod's node affinity/selector")
}

fn ports(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let taken = host_ports(pod).iter().any(|wanted| node.ports.iter().any(|used| collide(wanted, used)));
    refuse(taken, "node(s) didn't have free ports for the requested pod ports")
}

fn collide(one: &HostPort, other: &HostPort) -> bool {
    let any = |address: &str| address == "0.0.0.0";
    one.1 == other.1 && one.2 == other.2 && (one.0 == other.0 || any(&one.0) || any(&other.0))
}

fn resources(pod: &Pod, node: &NodeView<'_>) -> Vec<String> {
    let mut reasons = Vec::new();
    let most = node.allocatable.get("pods").copied().unwrap_or(0);
    if i64::try_from(node.pods).unwrap_or(i64::MAX) >= most {
        reasons.push("Too many pods".to_owned());
    }
    let mut wanted: Vec<(String, i64)> =
        requests(pod).into_iter().filter(|(_, amount)| *amount > 0).collect();
    wanted.sort();
    for (name, amount) in wanted {
        let all = node.allocatable.get(&name).copied().unwrap_or(0);
        let used = node.requested.get(&name).copied().unwrap_or(0);
        if amount > all.saturating_sub(used) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    reasons
}

fn refuse(refused: bool, reason: &str) -> Vec<String> {
    if refused { vec![reason.to_owned()] } else { Vec::new() }
}

/// Whether the pod puts up with a taint.
pub(super) fn tolerates(pod: &Pod, taint: &Taint) -> bool {
    pod.spec
        .iter()
        .flat_map(|spec| spec.tolerations.iter().flatten())
        .any(|toleration| covers(toleration, taint))
}

fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let said = |text: &Option<String>| text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned);
    let effect = said(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = match said(&toleration.key) {
        Some(key) => key == taint.key,
        None => exists,
    };
    let value = exists
        || toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && key && value
}

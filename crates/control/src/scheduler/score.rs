//! Which of the nodes that could take a pod is best: pure.

use client::Resource as _;
use k8s_openapi::api::core::v1::Pod;

use super::affinity;
use super::filter::tolerates;
use super::snapshot::{Amounts, NodeView, requests};

/// Each part is between none and this.
const FULL: i64 = 100;

/// The node with the highest score; of equals, the first by name.
pub(super) fn best<'a, 'n>(pod: &Pod, nodes: &[&'a NodeView<'n>]) -> Option<&'a NodeView<'n>> {
    let most_preferred =
        nodes.iter().map(|node| affinity::preference(pod, node.node)).max().unwrap_or(0).max(1);
    let score = |node: &NodeView<'_>| {
        let preferred = affinity::preference(pod, node.node).saturating_mul(FULL) / most_preferred;
        room(pod, node)
            + balance(pod, node)
            + 2 * spread(pod, node, nodes)
            + 2 * preferred
            + 3 * untainted(pod, node)
    };
    // The last of equal maxima wins, so they are looked at from the end.
    nodes.iter().rev().max_by_key(|node| score(node)).copied()
}

/// More for a node of which less is taken.
fn room(pod: &Pod, node: &NodeView<'_>) -> i64 {
    let used = used(pod, node);
    used.iter().map(|share| FULL - share).sum::<i64>() / i64::try_from(used.len()).unwrap_or(1)
}

/// More for a node whose processors and memory would be taken evenly.
fn balance(pod: &Pod, node: &NodeView<'_>) -> i64 {
    let [cpu, memory] = used(pod, node);
    FULL - (cpu - memory).abs()
}

/// Percent of processors and memory that would be taken.
fn used(pod: &Pod, node: &NodeView<'_>) -> [i64; 2] {
    let wanted = requests(pod);
    ["cpu", "memory"].map(|name| {
        let all = node.allocatable.get(name).copied().unwrap_or(0);
        let amount = |of: &Amounts| i128::from(of.get(name).copied().unwrap_or(0));
        let taken = amount(&node.requested) + amount(&wanted);
        if all == 0 { FULL } else { (taken * 100 / i128::from(all)).clamp(0, 100) as i64 }
    })
}

/// More for a node that has fewer pods of the same owner.
fn spread(pod: &Pod, node: &NodeView<'_>, nodes: &[&NodeView<'_>]) -> i64 {
    let Some(owner) = pod.controller() else { return 0 };
    let count = |node: &NodeView<'_>| {
        i64::try_from(node.owners.get(&owner.uid).copied().unwrap_or(0)).unwrap_or(i64::MAX)
    };
    let most = nodes.iter().map(|node| count(node)).max().unwrap_or(0);
    if most == 0 { FULL } else { FULL - count(node) * FULL / most }
}

/// Less for a node with taints that the pod should rather avoid.
fn untainted(pod: &Pod, node: &NodeView<'_>) -> i64 {
    let taints = node.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let soft = taints.filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint)).count();
    FULL / (1 + i64::try_from(soft).unwrap_or(i64::MAX - 1))
}

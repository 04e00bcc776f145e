//! Taints of nodes, and the pods that put up with them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::scheduler::framework::{FULL, Filter, Prepared, Scene, Score, in_proportion};
use crate::scheduler::news::News;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::PodInfo;

/// Refuses nodes with hard taints that the pod does not tolerate, and prefers those with fewer soft ones.
pub(super) struct TaintToleration;

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn cure(&self, pod: &PodInfo, node: &NodeInfo) -> Option<String> {
        let taint = untolerated(pod, &node.facts)?;
        let value = taint.value.as_deref().filter(|value| !value.is_empty());
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        Some(format!(
            "the pod has to tolerate {}{value}:{}, or the node has to lose it",
            taint.key, taint.effect
        ))
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_TAINTS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Prepared<'a> {
        Prepared::asks(|node: &NodeInfo| {
            super::never_if(untolerated(pod, &node.facts).is_some(), "node(s) had untolerated taint(s)")
        })
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
        let untolerated = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint);
        let count = |node: &&NodeInfo| {
            let soft = node.facts.taints.iter().filter(untolerated).count();
            i64::try_from(soft).unwrap_or(i64::MAX / FULL)
        };
        let mut scores: Vec<i64> = nodes.iter().map(count).collect();
        in_proportion(&mut scores, true);
        Some(scores)
    }
}

/// The first of a node's hard taints that the pod does not put up with.
pub(super) fn untolerated<'a>(pod: &PodInfo, facts: &'a NodeFacts) -> Option<&'a Taint> {
    let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    facts.taints.iter().filter(hard).find(|taint| !tolerates(pod, taint))
}

/// Whether the pod puts up with a taint.
pub(super) fn tolerates(pod: &PodInfo, taint: &Taint) -> bool {
    pod.tolerations.iter().any(|toleration| covers(toleration, taint))
}

/// What a toleration leaves empty it says of all.
fn covers(toleration: &Toleration, taint: &Taint) -> bool {
    let exists = toleration.operator.as_deref() == Some("Exists");
    let effect = said(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = said(&toleration.key).map_or(exists, |key| key == taint.key);
    let value = exists || said(&toleration.value) == said(&taint.value);
    effect && key && value
}

fn said(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

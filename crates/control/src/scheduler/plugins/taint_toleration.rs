//! Taints of nodes, and the pods that put up with them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::scheduler::framework::{FULL, Filter, NodeFilter, Scene, Score};
use crate::scheduler::news::News;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::PodInfo;

/// Refuses nodes with hard taints that the pod does not tolerate, and prefers those with fewer soft ones.
pub(super) struct TaintToleration;

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn listens(&self) -> News {
        News::NODE_ADDED | News::NODE_TAINTS
    }

    fn prepare<'a>(&self, pod: &'a PodInfo, _: Scene<'a>) -> Option<NodeFilter<'a>> {
        Some(Box::new(|node| {
            let Some(taint) = untolerated(pod, &node.facts) else { return Vec::new() };
            let value = taint.value.as_deref().unwrap_or_default();
            vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key).into()]
        }))
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn weight(&self) -> i64 {
        3
    }

    fn scores(&self, pod: &PodInfo, _: Scene<'_>, nodes: &[&NodeInfo]) -> Vec<i64> {
        let untolerated = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !tolerates(pod, taint);
        let score = |node: &&NodeInfo| {
            let soft = node.facts.taints.iter().filter(untolerated).count();
            FULL / (1 + i64::try_from(soft).unwrap_or(i64::MAX - 1))
        };
        nodes.iter().map(score).collect()
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

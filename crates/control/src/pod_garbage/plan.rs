//! Which pods go: objects and the time in, steps out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::Node;

use crate::pods::{OutlinedPod, Phase};

/// So many pods that have ended are kept.
const MOST_ENDED: usize = 12_500;
/// For so long a node has to be absent until its pods go.
const QUARANTINE: Duration = Duration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A pod that goes, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) key: ObjectKey,
    pub(super) uid: String,
    pub(super) reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// More have ended than are kept.
    TooMany,
    /// It is to go, and its node is out of service.
    OutOfService,
    /// Its node is not there any more.
    NodeGone(String),
    /// It is to go, and has no node that would end it.
    Unscheduled,
}

impl Step {
    /// The node that has to be gone for it.
    pub(super) fn node(&self) -> Option<&str> {
        match &self.reason {
            Reason::NodeGone(node) => Some(node),
            _ => None,
        }
    }
}

/// The pods that go, and which nodes are absent since when. `absent` is what was found so before, on the steady
/// clock.
pub(super) fn plan(
    pods: &[OutlinedPod],
    nodes: &[Arc<Node>],
    absent: HashMap<String, Duration>,
    elapsed: Duration,
    is_evicted: &dyn Fn(&ObjectKey) -> bool,
) -> (Vec<Step>, HashMap<String, Duration>) {
    let by_name: HashMap<&str, &Node> = nodes.iter().map(|node| (node.name(), &**node)).collect();
    let mut still_absent = HashMap::new();
    let mut steps = too_many(pods, MOST_ENDED, is_evicted);
    let going: HashSet<ObjectKey> = steps.iter().map(|step| step.key.clone()).collect();
    for pod in pods {
        let outline = &pod.outline;
        let node = outline.node.as_deref();
        let reason = match (node, node.and_then(|name| by_name.get(name))) {
            (None, _) if outline.is_ending => Reason::Unscheduled,
            (None, _) => continue,
            (Some(_), Some(node)) if outline.is_ending && is_out_of_service(node) => Reason::OutOfService,
            (Some(_), Some(_)) => continue,
            (Some(name), None) => {
                let since = absent.get(name).copied().unwrap_or(elapsed);
                still_absent.insert(name.to_owned(), since);
                if elapsed.saturating_sub(since) < QUARANTINE {
                    continue;
                }
                Reason::NodeGone(name.to_owned())
            }
        };
        // Each is among `pods` once.
        if !going.contains(&pod.key) {
            steps.push(step(pod, reason));
        }
    }
    (steps, still_absent)
}

fn step(pod: &OutlinedPod, reason: Reason) -> Step {
    Step { key: pod.key.clone(), uid: pod.outline.uid.to_string(), reason }
}

/// Those of the pods that have ended that are more than are kept: evicted ones first, then the oldest.
fn too_many(pods: &[OutlinedPod], most: usize, is_evicted: &dyn Fn(&ObjectKey) -> bool) -> Vec<Step> {
    let has_ended = |pod: &&OutlinedPod| matches!(pod.outline.phase, Phase::Succeeded | Phase::Failed);
    let mut ended: Vec<&OutlinedPod> = pods.iter().filter(has_ended).collect();
    let surplus = ended.len().saturating_sub(most);
    if surplus == 0 {
        return Vec::new();
    }
    ended.sort_by_cached_key(|pod| (!is_evicted(&pod.key), pod.outline.created, pod.key.name.clone()));
    ended.into_iter().take(surplus).map(|pod| step(pod, Reason::TooMany)).collect()
}

fn is_out_of_service(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True");
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !is_ready && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

#[cfg(test)]
mod tests {
    use client::{Outline as _, Outlined};
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;
    use crate::pods::PodOutline;

    /// `name@node`, with `!` after it where it is being deleted.
    fn pod(text: &str) -> OutlinedPod {
        let (text, ending) = text.strip_suffix('!').map_or((text, false), |text| (text, true));
        let (name, node) = text.split_once('@').expect("name@node");
        let pod = json!({
            "metadata": {"name": name, "uid": name, "deletionTimestamp": ending.then_some("2026-01-01T00:00:00Z")},
            "spec": {"containers": [], "nodeName": node}, "status": {"phase": "Running"},
        });
        outlined(&serde_json::from_value(pod).expect("a pod"))
    }

    fn outlined(pod: &Pod) -> OutlinedPod {
        Outlined { key: pod.key(), labels: Arc::default(), outline: Arc::new(PodOutline::of(pod)) }
    }

    fn node(name: &str, ready: &str, taint: &str) -> Arc<Node> {
        let node = json!({
            "metadata": {"name": name}, "spec": {"taints": [{"key": taint, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": ready}]},
        });
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    /// Node `a` is ready, `b` out of service; `x` was found absent at the begin.
    #[track_caller]
    fn check(pods: &str, seconds: u64, expected: &str) {
        let pods: Vec<_> = pods.split_whitespace().map(pod).collect();
        let nodes =
            [node("a", "True", OUT_OF_SERVICE), node("b", "False", OUT_OF_SERVICE), node("c", "False", "t")];
        let absent = HashMap::from([("x".to_owned(), Duration::ZERO)]);
        let (steps, _) = plan(&pods, &nodes, absent, Duration::from_secs(seconds), &|_| false);
        let words: Vec<String> =
            steps.iter().map(|step| format!("{} {:?}", step.key.name, step.reason)).collect();
        assert_eq!(words.join(", "), expected);
    }

    #[test]
    fn pods_go_that_no_node_will_end() {
        check("p@a q@a! r@b s@c!", 100, "");
        check("p@b!", 100, "p OutOfService");
        check("p@! q@", 100, "p Unscheduled");
    }

    #[test]
    fn pods_of_a_node_that_is_gone_go_after_a_while() {
        check("p@x", 39, "");
        check("p@x q@y", 40, "p NodeGone(\"x\")");
        let absent = HashMap::from([("x".to_owned(), Duration::ZERO), ("a".to_owned(), Duration::ZERO)]);
        let at = Duration::from_secs(30);
        let (_, absent) =
            plan(&[pod("p@x"), pod("q@y"), pod("r@a")], &[node("a", "True", "t")], absent, at, &|_| false);
        // One that came back is forgotten, and so is one that no pod names.
        assert_eq!(absent, HashMap::from([("x".to_owned(), Duration::ZERO), ("y".to_owned(), at)]));
    }

    #[test]
    fn of_too_many_that_have_ended_evicted_and_old_ones_go() {
        let pods: Vec<OutlinedPod> = [("new", 3), ("old", 1), ("evicted", 2), ("runs", 0)]
            .iter()
            .map(|(name, second)| {
                let phase = if *name == "runs" { "Running" } else { "Succeeded" };
                let pod = json!({
                    "metadata": {"name": name, "creationTimestamp": format!("2026-01-01T00:00:0{second}Z")},
                    "status": {"phase": phase},
                });
                outlined(&serde_json::from_value(pod).expect("a pod"))
            })
            .collect();
        let names = |most| {
            let steps = too_many(&pods, most, &|key| key.name == "evicted");
            steps.into_iter().map(|step| step.key.name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            (names(3), names(2), names(1)),
            (String::new(), "evicted".to_owned(), "evicted old".to_owned())
        );
    }
}

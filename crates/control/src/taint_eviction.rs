//! Pods leave nodes with a taint that they do not put up with, at once or after as long as they do.
//!
//! Source: <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/tainteviction/taint_eviction.go>.

use std::collections::HashMap;
use std::time::Duration;

use client::api::{Patch, PatchOptions, Preconditions};
use client::recorder::{EventType, Recorder};
use client::{Action, Api, Controller, DeleteOptions, Error, ObjectKey, Reconcile, Resource as _, Store};
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use parking_lot::Mutex;
use serde_json::json;
use tracing::info;

use crate::Context;
use crate::pods::{ON_NODE, condition, index_nodes, is_terminal, node_of};

const EFFECT: &str = "NoExecute";

/// The index of nodes that some pods have to leave.
const EVICTING: &str = "evicting";

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let (pods, nodes) = (context.informers.of::<Pod>(), context.informers.of::<Node>());
    index_nodes(&pods);
    nodes.index(EVICTING, |node| {
        let evicts = !evicting(node).is_empty();
        evicts.then(|| EFFECT.to_owned()).into_iter().collect()
    });
    let all = pods.store();
    // Of a node that pods may stay on nothing has to be known; that it was another before is told, too.
    let on_node = move |node: &Node| -> Vec<ObjectKey> {
        if evicting(node).is_empty() {
            return Vec::new();
        }
        all.by_index(ON_NODE, node.name()).iter().map(|pod| pod.key()).collect()
    };
    let reconciler = Reconciler {
        pods: pods.store(),
        nodes: nodes.store(),
        recorder,
        leaving: Mutex::default(),
        context: context.clone(),
    };
    Controller::new("taint-eviction", &pods)
        .watches(&nodes, on_node)
        .workers(8)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    pods: Store<Pod>,
    nodes: Store<Node>,
    recorder: Recorder,
    /// Pods that are to leave later.
    leaving: Mutex<HashMap<ObjectKey, Leaving>>,
}

/// A pod that is to leave.
#[derive(Clone, Debug, PartialEq)]
struct Leaving {
    uid: String,
    /// Since when that is known, and when it is to be.
    since: Duration,
    at: Duration,
}

/// How long a pod may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    /// As long as it likes.
    Forever,
    /// So long from when it was known that it is to leave.
    For(Duration),
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        // While pods may stay wherever they are, none is looked at.
        if !self.nodes.has_in_index(EVICTING, EFFECT) && !self.leaving.lock().contains_key(key) {
            return Ok(Action::Done);
        }
        let Some(pod) = self.pods.get(key) else {
            self.leaving.lock().remove(key);
            return Ok(Action::Done);
        };
        let node = node_of(&pod).and_then(|node| self.nodes.get(&ObjectKey::new("", node)));
        let stay = match node.filter(|_| pod.metadata.deletion_timestamp.is_none() && !is_terminal(&pod)) {
            Some(node) => stay(&evicting(&node), tolerations(&pod)),
            None => Stay::Forever,
        };
        let now = self.context.clock.elapsed();
        let due = {
            let mut leaving = self.leaving.lock();
            let known = leaving.remove(key).filter(|known| known.uid == pod.uid());
            match plan(known.clone(), stay, now, pod.uid()) {
                Some(next) => {
                    leaving.insert(key.clone(), next.clone());
                    next.at
                }
                None => {
                    // What was begun is over, unless the pod is on its way already.
                    if known.is_some() && pod.metadata.deletion_timestamp.is_none() {
                        let message = format!("Cancelling deletion of Pod {key}");
                        self.recorder.event(&*pod, EventType::Normal, "TaintManagerEviction", message);
                    }
                    return Ok(Action::Done);
                }
            }
        };
        if let Some(early) = due.checked_sub(now).filter(|early| !early.is_zero()) {
            return Ok(Action::After(early));
        }
        self.evict(key, &pod).await?;
        self.leaving.lock().remove(key);
        Ok(Action::Done)
    }
}

impl Reconciler {
    async fn evict(&self, key: &ObjectKey, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {key}");
        self.recorder.event(pod, EventType::Normal, "TaintManagerEviction", message);
        info!(pod = %key, "leaves its node");
        let api: Api<Pod> = Api::namespaced(&self.context.client, &key.namespace);
        let wanted = PodCondition {
            type_: "DisruptionTarget".to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByTaintManager".to_owned()),
            message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
            last_transition_time: base::Timestamp::from_second(self.context.clock.now().as_second())
                .ok()
                .map(Time),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        };
        let said = condition(pod, &wanted.type_);
        if said.is_none_or(|said| (&said.status, &said.reason) != (&wanted.status, &wanted.reason)) {
            let status = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [wanted]}});
            match api.patch_status(pod.name(), &Patch::Strategic(status), &PatchOptions::default()).await {
                Ok(_) => {}
                Err(Error::NotFound(_) | Error::Conflict(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        let preconditions = Preconditions { uid: Some(pod.uid().to_owned()), ..Preconditions::default() };
        match api.delete(pod.name(), &DeleteOptions { preconditions, ..DeleteOptions::default() }).await {
            Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// When a pod is to leave; nothing where it may stay.
fn plan(known: Option<Leaving>, stay: Stay, now: Duration, uid: &str) -> Option<Leaving> {
    let Stay::For(time) = stay else { return None };
    let since = known.as_ref().map_or(now, |known| known.since);
    let at = since.saturating_add(time);
    // Once it was to leave at a time it does not leave later.
    let at = known.map_or(at, |known| known.at.min(at));
    Some(Leaving { uid: uid.to_owned(), since, at })
}

/// How long a pod that puts up with this may stay on a node with these taints.
fn stay(taints: &[&Taint], tolerations: &[Toleration]) -> Stay {
    let mut shortest: Option<Duration> = None;
    for taint in taints {
        let Some(toleration) = tolerations.iter().find(|toleration| tolerates(toleration, taint)) else {
            return Stay::For(Duration::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let time = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
        }
    }
    shortest.map_or(Stay::Forever, Stay::For)
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (effect, key) = (filled(&toleration.effect), filled(&toleration.key));
    if effect.is_some_and(|effect| effect != taint.effect)
        || key.as_ref().is_some_and(|key| *key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            key.is_some()
                && toleration.value.as_deref().unwrap_or_default()
                    == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

/// The taints of a node that pods leave it for.
fn evicting(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == EFFECT).collect()
}

fn tolerations(pod: &Pod) -> &[Toleration] {
    pod.spec.as_ref().and_then(|spec| spec.tolerations.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(taints: &[(&str, &str)], tolerations: serde_json::Value, expected: Stay) {
        let taints: Vec<Taint> = taints
            .iter()
            .map(|(key, value)| Taint {
                key: (*key).to_owned(),
                value: Some((*value).to_owned()),
                effect: EFFECT.to_owned(),
                time_added: None,
            })
            .collect();
        let tolerations: Vec<Toleration> = serde_json::from_value(tolerations).expect("tolerations");
        assert_eq!(
            stay(&taints.iter().collect::<Vec<_>>(), &tolerations),
            expected,
            "{taints:?} {tolerations:?}"
        );
    }

    #[test]
    fn a_pod_stays_for_as_long_as_it_puts_up_with_every_taint() {
        let seconds = |seconds| Stay::For(Duration::from_secs(seconds));
        let exists = |key: &str, seconds: Option<i64>| json!({"key": key, "operator": "Exists", "effect": EFFECT, "tolerationSeconds": seconds});
        check(&[], json!([]), Stay::Forever);
        check(&[("a", "1")], json!([]), seconds(0));
        check(&[("a", "1")], json!([exists("b", None)]), seconds(0));
        check(&[("a", "1")], json!([exists("a", None)]), Stay::Forever);
        check(&[("a", "1")], json!([exists("a", Some(30))]), seconds(30));
        check(&[("a", "1")], json!([exists("a", Some(-1))]), seconds(0));
        check(&[("a", "1"), ("b", "")], json!([exists("a", Some(30)), exists("b", Some(10))]), seconds(10));
        check(&[("a", "1"), ("b", "")], json!([exists("a", Some(30)), exists("b", None)]), seconds(30));
        check(&[("a", "1"), ("b", "")], json!([exists("a", Some(30))]), seconds(0));
        check(&[("a", "1")], json!([{"key": "a", "value": "1"}]), Stay::Forever);
        check(&[("a", "1")], json!([{"key": "a", "value": "2"}]), seconds(0));
        check(&[("a", "1")], json!([{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]), seconds(0));
        check(&[("a", "1"), ("b", "2")], json!([{"operator": "Exists"}]), Stay::Forever);
        check(&[("a", "1")], json!([{"operator": "Gt", "key": "a", "value": "0"}]), seconds(0));
    }

    #[test]
    fn a_pod_that_is_to_leave_does_not_leave_later_than_it_was_to() {
        let at = |seconds| Duration::from_secs(seconds);
        let leaving = |since, until| Leaving { uid: "u".to_owned(), since: at(since), at: at(until) };
        let check = |known, stay, now, expected| assert_eq!(plan(known, stay, at(now), "u"), expected);
        check(None, Stay::Forever, 100, None);
        check(None, Stay::For(at(30)), 100, Some(leaving(100, 130)));
        check(Some(leaving(100, 130)), Stay::For(at(30)), 110, Some(leaving(100, 130)));
        check(Some(leaving(100, 130)), Stay::For(at(300)), 110, Some(leaving(100, 130)));
        check(Some(leaving(100, 130)), Stay::For(at(5)), 110, Some(leaving(100, 105)));
        check(Some(leaving(100, 130)), Stay::Forever, 110, None);
    }
}

//! The scheduler: gives each pod a node.
//!
//! One pod at a time is matched against all nodes ([`filter`] says which could take it, [`score`]
//! which is best); what was decided is assumed at once and written in the background, so that the
//! next pod is decided on what will be, not on what the cache shows already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{Patch, PatchOptions, WriteOptions};
use client::recorder::{EventType, Recorder};
use client::{Api, Change, Error, ObjectKey, Resource as _, Store, WorkQueue};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use tokio::task::JoinSet;
use tracing::{debug, error, info, warn};

use crate::{Context, pods};

mod affinity;
mod filter;
mod score;
mod snapshot;

use snapshot::Snapshot;

/// The scheduler that pods name unless they name another.
const NAME: &str = "default-scheduler";
/// So many decisions are being written at once at most.
const BINDING: usize = 64;
/// After so long a pod that fits nowhere is tried again, whether or not anything changed.
const AGAIN: Duration = Duration::from_secs(30);

/// Runs the scheduler.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let pods = context.informers.of::<Pod>();
    let nodes = context.informers.of::<Node>();
    let queue = Arc::new(WorkQueue::new());
    let waiting = Arc::clone(&queue);
    pods.on_change(move |change: &Change<Pod>| {
        if !change.is_deletion() && is_ours(change.object()) {
            waiting.add(change.object().key());
        }
    });
    // Room may have come: whoever waits is tried again.
    let (waiting, store) = (Arc::clone(&queue), pods.store());
    let try_all =
        move || store.list().iter().filter(|pod| is_ours(pod)).for_each(|pod| waiting.add(pod.key()));
    let try_all_again = try_all.clone();
    nodes.on_change(move |change: &Change<Node>| {
        if !only_heartbeats(change) {
            try_all();
        }
    });
    pods.on_change(move |change: &Change<Pod>| {
        let left = change.is_deletion() || pods::is_terminal(change.object());
        let was_there = change.old().is_none_or(|old| !pods::is_terminal(old));
        if left && was_there && is_bound(change.object()) {
            try_all_again();
        }
    });
    let (pod_store, node_store) = (pods.store(), nodes.store());
    let mut scheduler = Scheduler {
        context: context.clone(),
        recorder,
        pods: pod_store,
        nodes: node_store,
        queue,
        assumed: HashMap::new(),
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = scheduler.schedule() => {}
    }
}

struct Scheduler {
    context: Context,
    recorder: Recorder,
    pods: Store<Pod>,
    nodes: Store<Node>,
    queue: Arc<WorkQueue<ObjectKey>>,
    /// Pods that were given a node, by uid, until the cache shows it.
    assumed: HashMap<String, (Arc<Pod>, String)>,
}

/// How the writing of a decision ended.
struct Bound {
    pod: Arc<Pod>,
    node: String,
    result: Result<(), Error>,
}

impl Scheduler {
    async fn schedule(&mut self) {
        self.pods.synced().await;
        self.nodes.synced().await;
        let queue = Arc::clone(&self.queue);
        let mut writing: JoinSet<Bound> = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(bound) = writing.join_next() => match bound {
                    Ok(bound) => self.bound(bound),
                    Err(error) => warn!(%error, "writing a decision panicked"),
                },
                key = queue.next(), if writing.len() < BINDING => {
                    let Some(key) = key else { return };
                    let waiting = self.pods.get(&key).filter(|pod| is_ours(pod) && !self.assumed.contains_key(pod.uid()));
                    if let Some(pod) = waiting {
                        let decided = base::panics::catch_async(self.decide(pod, &mut writing)).await;
                        if let Err(panic) = decided {
                            let delay = queue.add_rate_limited(key.clone());
                            error!(pod = %key, %panic, ?delay, "deciding about a pod panicked, trying again");
                        }
                    } else {
                        queue.forget(&key);
                    }
                    queue.done(&key);
                }
            }
        }
    }

    /// Finds a node for a pod and begins to write it down, or tells why there is none.
    async fn decide(&mut self, pod: Arc<Pod>, writing: &mut JoinSet<Bound>) {
        self.forget_shown();
        let (nodes, all_pods) = (self.nodes.list(), self.pods.list());
        let assumed = self.assumed.values().map(|(pod, node)| (pod.as_ref(), node.as_str()));
        let snapshot = Snapshot::new(&nodes, &all_pods, assumed);
        match choose(&pod, &snapshot) {
            Ok(node) => {
                debug!(pod = %pod.key(), node, "decided");
                self.assumed.insert(pod.uid().to_owned(), (Arc::clone(&pod), node.clone()));
                let api: Api<Pod> =
                    Api::namespaced(&self.context.client, pod.namespace().unwrap_or_default());
                writing.spawn(async move {
                    let bound = base::panics::catch_async(bind(&api, &pod, &node)).await;
                    let result = bound.unwrap_or_else(|panic| Err(panic.into()));
                    Bound { pod, node, result }
                });
            }
            Err(message) => {
                info!(pod = %pod.key(), message, "cannot be scheduled");
                self.recorder.event(pod.as_ref(), EventType::Warning, "FailedScheduling", message.clone());
                self.tell(&pod, &message).await;
                self.queue.add_after(pod.key(), AGAIN);
            }
        }
    }

    fn bound(&mut self, Bound { pod, node, result }: Bound) {
        match result {
            Ok(()) => {
                self.queue.forget(&pod.key());
                let message = format!("Successfully assigned {} to {node}", pod.key());
                self.recorder.event(pod.as_ref(), EventType::Normal, "Scheduled", message);
            }
            Err(Error::NotFound(_)) => {
                self.assumed.remove(pod.uid());
                self.queue.forget(&pod.key());
            }
            Err(error) => {
                self.assumed.remove(pod.uid());
                // What it was in conflict with may have been shown already, while the pod was taken for bound.
                let delay = self.queue.add_rate_limited(pod.key());
                if !error.is_conflict() {
                    warn!(pod = %pod.key(), error = %base::error::chain(&error), ?delay, "cannot write the decision; trying again");
                }
            }
        }
    }

    /// Forgets assumptions that the cache shows by now, or whose pods are gone.
    fn forget_shown(&mut self) {
        let pods = &self.pods;
        self.assumed.retain(|uid, (pod, _)| {
            pods.get(&pod.key()).is_some_and(|shown| shown.uid() == uid && !is_bound(&shown))
        });
    }

    /// Writes the condition that says why the pod waits.
    async fn tell(&self, pod: &Pod, message: &str) {
        let known = pods::condition(pod, "PodScheduled");
        if known.is_some_and(|condition| condition.message.as_deref() == Some(message)) {
            return;
        }
        let now = base::Timestamp::from_second(self.context.clock.now().as_second())
            .expect("cutting a time stays in range");
        let since = known
            .filter(|c| c.status == "False")
            .and_then(|c| c.last_transition_time.as_ref())
            .map_or(now, |time| time.0);
        let patch = json!({
            "metadata": {"uid": pod.uid()},
            "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message, "lastTransitionTime": since,
            }]},
        });
        let api: Api<Pod> = Api::namespaced(&self.context.client, pod.namespace().unwrap_or_default());
        if let Err(error) =
            api.patch_status(pod.name(), &Patch::Strategic(patch), &PatchOptions::default()).await
        {
            debug!(pod = %pod.key(), error = %base::error::chain(&error), "cannot tell why the pod waits");
        }
    }
}

/// The best node for a pod, or why there is none, in the words of Kubernetes.
fn choose(pod: &Pod, snapshot: &Snapshot<'_>) -> Result<String, String> {
    let total = snapshot.nodes.len();
    let mut reasons: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let mut fitting = Vec::new();
    for node in &snapshot.nodes {
        let refusals = filter::refusals(pod, node);
        if refusals.is_empty() {
            fitting.push(node);
        }
        for reason in refusals {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if let Some(best) = score::best(pod, &fitting) {
        return Ok(best.name().to_owned());
    }
    if total == 0 {
        return Err("no nodes available to schedule pods".to_owned());
    }
    let mut parts: Vec<String> =
        reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    Err(format!("0/{total} nodes are available: {}.", parts.join(", ")))
}

async fn bind(api: &Api<Pod>, pod: &Pod, node: &str) -> Result<(), Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    api.create_subresource::<serde_json::Value>(pod.name(), "binding", &binding, &WriteOptions::default())
        .await
        .map(drop)
}

/// Whether a pod waits for this scheduler.
fn is_ours(pod: &Pod) -> bool {
    let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    let gated = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.scheduling_gates.as_ref())
        .is_some_and(|gates| !gates.is_empty());
    !is_bound(pod)
        && !gated
        && pods::is_active(pod)
        && scheduler.is_none_or(|name| name.is_empty() || name == NAME)
}

fn is_bound(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty())
}

/// Whether nothing about a node changed that decides where pods go.
fn only_heartbeats(change: &Change<Node>) -> bool {
    let Change::Updated { old, new } = change else { return false };
    let facts = |node: &Node| {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.clone());
        (node.spec.clone(), node.metadata.labels.clone(), allocatable)
    };
    facts(old) == facts(new)
}

#[cfg(test)]
mod tests;

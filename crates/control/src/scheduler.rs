//! The scheduler: gives each pod a node.
//!
//! The [`Planner`] thinks: it keeps the nodes with what is taken of them, and the pods that wait, from
//! events alone. Around it stands one loop, which takes in what the informers say, has one decision made
//! after the other, and writes them in the background: what was decided is counted at once, so that the
//! next pod is decided on what will be, not on what the API shows already.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{Patch, PatchOptions, WriteOptions};
use client::recorder::{EventType, Recorder};
use client::{Api, Change, Error, Resource as _, Store};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, error, info, warn};

use crate::{Context, pods};

mod amounts;
mod cache;
mod framework;
mod meters;
mod neighbour;
mod news;
mod node;
mod planner;
mod plugins;
mod pod;
mod queue;
mod spread;
mod writes;

pub use planner::{Counts, Event, Outcome, Planner, Written};
pub use pod::PodId;

use meters::Attempted;
use writes::Writes;

pub(crate) use meters::write as write_metrics;

/// So many decisions are being written at once at most.
const WRITING: usize = 64;

/// Runs the scheduler.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let stop = context.stop.clone();
    stop.run_until_cancelled(schedule(context, recorder)).await;
}

async fn schedule(context: Context, recorder: Recorder) {
    let (pods, nodes) = (context.informers.of::<Pod>(), context.informers.of::<Node>());
    let namespaces = context.informers.of::<Namespace>();
    let (sender, mut events) = mpsc::unbounded_channel();
    // Whoever joins late is told first all that is there: the first decision is made on the whole.
    namespaces.store().synced().await;
    nodes.store().synced().await;
    pods.store().synced().await;
    let tell = sender.clone();
    namespaces.on_change(move |change: &Change<Namespace>| {
        if !tell.is_closed() {
            let _ = tell.send(Event::of_namespace(change));
        }
    });
    let tell = sender.clone();
    nodes.on_change(move |change: &Change<Node>| {
        if !tell.is_closed() {
            let _ = tell.send(Event::of_node(change));
        }
    });
    let tell = sender;
    pods.on_change(move |change: &Change<Pod>| {
        if !tell.is_closed() {
            Event::of_pod(change).for_each(|event| drop(tell.send(event)));
        }
    });
    let now = || context.clock.elapsed();
    let mut planner = Planner::new();
    let mut writes = Writes::default();
    let mut hands =
        Hands { context: context.clone(), recorder, pods: pods.store(), began: HashMap::default() };
    loop {
        meters::pending(planner.waiting());
        while let Ok(event) = events.try_recv() {
            planner.apply(event, now());
        }
        while let Some((pod, written)) = writes.try_next() {
            hands.note(&mut planner, &pod, written);
        }
        let may_write = writes.len() < WRITING;
        let began = now();
        if may_write && let Some(outcome) = planner.decide(began) {
            hands.act(&mut planner, &mut writes, outcome, began);
            // The loop has neighbours in its task.
            tokio::task::yield_now().await;
            continue;
        }
        let due = planner.next_due().filter(|_| may_write).map(|due| due.saturating_sub(now()));
        tokio::select! {
            Some(event) = events.recv() => planner.apply(event, now()),
            Some((pod, written)) = writes.next() => hands.note(&mut planner, &pod, written),
            () = tokio::time::sleep(due.unwrap_or(Duration::MAX)), if due.is_some() => {}
            else => return,
        }
    }
}

/// What acts on decisions.
struct Hands {
    context: Context,
    recorder: Recorder,
    pods: Store<Pod>,
    /// When the attempts began that are being written.
    began: HashMap<PodId, Duration>,
}

impl Hands {
    /// Begins to write a decision down.
    fn act(&mut self, planner: &mut Planner, writes: &mut Writes, outcome: Outcome, began: Duration) {
        let took = self.context.clock.elapsed().saturating_sub(began);
        match outcome {
            Outcome::Chosen { pod, node } => {
                debug!(%pod, %node, "decided");
                let Some(shown) = self.shown(&pod) else {
                    planner.written(&pod, Written::Gone, self.context.clock.elapsed());
                    return;
                };
                let (api, recorder) = (self.api(&pod), self.recorder.clone());
                self.began.insert(pod.clone(), began);
                writes.spawn(pod, async move {
                    let bound = base::panics::catch_async(bind(&api, &recorder, &shown, &node)).await;
                    Some(bound.unwrap_or_else(|panic| Err(panic.into())))
                });
            }
            Outcome::Refused { pod, message, by } => {
                info!(%pod, message, ?by, "cannot be scheduled");
                meters::attempted(Attempted::Unschedulable, took);
                let Some(shown) = self.shown(&pod) else { return };
                self.recorder.event(shown.as_ref(), EventType::Warning, "FailedScheduling", message.clone());
                let (api, clock) = (self.api(&pod), Arc::clone(&self.context.clock));
                writes.spawn(pod, async move {
                    let told = base::panics::catch_async(tell(&api, &shown, &message, clock.now())).await;
                    if let Err(panic) = told {
                        error!(pod = %shown.key(), %panic, "telling why a pod waits panicked");
                    }
                    None
                });
            }
            Outcome::Failed { pod, panic, delay } => {
                error!(%pod, %panic, ?delay, "deciding about a pod panicked, trying again");
                meters::attempted(Attempted::Error, took);
            }
        }
    }

    /// Takes in how a writing ended.
    fn note(&mut self, planner: &mut Planner, pod: &PodId, bound: Option<Result<(), Error>>) {
        let Some(bound) = bound else { return };
        if let Some(began) = self.began.remove(pod) {
            let result = if bound.is_ok() { Attempted::Scheduled } else { Attempted::Error };
            meters::attempted(result, self.context.clock.elapsed().saturating_sub(began));
        }
        let written = match &bound {
            Ok(()) => Written::Bound,
            Err(Error::NotFound(_)) => Written::Gone,
            Err(_) => Written::Failed,
        };
        let delay = planner.written(pod, written, self.context.clock.elapsed());
        match bound {
            // Somebody else bound it, or deletes it.
            Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => {}
            Err(error) => {
                warn!(%pod, error = %base::error::chain(&error), ?delay, "cannot write the decision");
            }
        }
    }

    /// The pod as the API shows it; nothing if it is gone.
    fn shown(&self, pod: &PodId) -> Option<Arc<Pod>> {
        self.pods.get(&pod.key).filter(|shown| *shown.uid() == *pod.uid)
    }

    fn api(&self, pod: &PodId) -> Api<Pod> {
        Api::namespaced(&self.context.client, &pod.key.namespace)
    }
}

async fn bind(api: &Api<Pod>, recorder: &Recorder, pod: &Pod, node: &str) -> Result<(), Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let options = WriteOptions::default();
    let bound = api.create_subresource::<serde_json::Value>(pod.name(), "binding", &binding, &options).await;
    if let Err(error) = bound {
        // Its answer may have been lost, and a repetition met what it had done: what it takes of the node
        // must not be given away again.
        let refused = matches!(error, Error::NotFound(_) | Error::Invalid(_) | Error::Forbidden(_));
        if refused || !is_bound(api, pod, node).await {
            return Err(error);
        }
    }
    let message = format!("Successfully assigned {} to {node}", pod.key());
    recorder.event(pod, EventType::Normal, "Scheduled", message);
    Ok(())
}

/// Whether the API shows the pod on this node.
async fn is_bound(api: &Api<Pod>, pod: &Pod, node: &str) -> bool {
    let shown = api.find(pod.name()).await.ok().flatten().filter(|shown| shown.uid() == pod.uid());
    shown.and_then(|shown| shown.spec?.node_name).is_some_and(|shown| shown == node)
}

/// Writes the condition that says why the pod waits.
async fn tell(api: &Api<Pod>, pod: &Pod, message: &str, now: base::Timestamp) {
    let known = pods::condition(pod, "PodScheduled");
    if known.is_some_and(|condition| condition.message.as_deref() == Some(message)) {
        return;
    }
    let now = base::Timestamp::from_second(now.as_second()).expect("cutting a time stays in range");
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
    let options = PatchOptions::default();
    if let Err(error) = api.patch_status(pod.name(), &Patch::Strategic(patch), &options).await {
        debug!(pod = %pod.key(), error = %base::error::chain(&error), "cannot tell why the pod waits");
    }
}

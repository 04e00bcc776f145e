//! Pods that nobody looks after any more: too many that have ended, and those that no node will end.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use base::Timestamp;
use client::api::DeleteOptions;
use client::{Api, Error, ObjectKey, Outlines, Patch, PatchOptions, Resource as _, Store};
use futures::stream::{self, StreamExt as _};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::select::LabelSelector;
use serde_json::json;
use tracing::{debug, info, warn};

use crate::Context;
use crate::pods::{self, PodOutline};

mod plan;

use plan::{Reason, Step, plan};

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 32;

/// Runs the controller.
pub(crate) async fn run(context: Context) {
    let (all_pods, nodes) = (context.informers.of::<Pod>(), context.informers.of::<Node>());
    let mut collector = Collector {
        pods: all_pods.store(),
        outlines: all_pods.outlines(),
        nodes: nodes.store(),
        absent: HashMap::new(),
        looked: None,
        context: context.clone(),
    };
    let looking = async {
        collector.pods.synced().await;
        collector.nodes.synced().await;
        loop {
            collector.look().await;
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = context.stop.cancelled() => {}
        () = looking => {}
    }
}

struct Collector {
    context: Context,
    pods: Store<Pod>,
    outlines: Outlines<Pod, PodOutline>,
    nodes: Store<Node>,
    /// Nodes that pods name and that are not there, since when.
    absent: HashMap<String, Duration>,
    /// What the caches showed when nothing was to be done.
    looked: Option<(u64, u64)>,
}

impl Collector {
    async fn look(&mut self) {
        let shown = (self.pods.revision(), self.nodes.revision());
        if self.looked == Some(shown) {
            return;
        }
        let pods = self.outlines.select("", &LabelSelector::from_labels(std::iter::empty::<(&str, &str)>()));
        let nodes = self.nodes.list();
        let is_evicted = |key: &ObjectKey| {
            let pod = self.pods.get(key);
            let status = pod.as_ref().and_then(|pod| pod.status.as_ref());
            status.is_some_and(|status| {
                status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted")
            })
        };
        let (steps, absent) =
            plan(&pods, &nodes, std::mem::take(&mut self.absent), self.context.clock.elapsed(), &is_evicted);
        self.absent = absent;
        self.looked = (steps.is_empty() && self.absent.is_empty()).then_some(shown);
        // The cache may not show a node yet that is there.
        let api = Api::<Node>::all(&self.context.client);
        let named: BTreeSet<&str> = steps.iter().filter_map(Step::node).collect();
        let asked = named.into_iter().map(|name| {
            let api = &api;
            async move { matches!(api.find(name).await, Ok(None)).then_some(name) }
        });
        // So that the futures have one type, whatever they borrow.
        let asked: Vec<_> = asked.collect();
        let gone: HashSet<&str> =
            stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await;
        let due = steps.iter().filter(|step| step.node().is_none_or(|name| gone.contains(name)));
        stream::iter(due).for_each_concurrent(AT_ONCE, |step| self.remove(step)).await;
    }

    async fn remove(&self, step: &Step) {
        match self.try_remove(step).await {
            Ok(()) | Err(Error::NotFound(_) | Error::Conflict(_)) => {
                info!(pod = %step.key, reason = ?step.reason, "removed a pod that nobody looks after");
            }
            Err(error) => {
                let error = base::error::chain(&error);
                warn!(pod = %step.key, %error, "cannot remove a pod, trying again later");
            }
        }
    }

    async fn try_remove(&self, step: &Step) -> Result<(), Error> {
        let api = Api::<Pod>::namespaced(&self.context.client, &step.key.namespace);
        let Some(pod) = self.pods.get(&step.key).filter(|pod| pod.uid() == step.uid) else {
            debug!(pod = %step.key, "it is gone meanwhile");
            return Ok(());
        };
        if !pods::is_terminal(&pod) {
            let mut status = json!({"phase": "Failed"});
            let generation = pod.metadata.generation;
            if let Some(generation) = generation {
                status["observedGeneration"] = generation.into();
            }
            if let Reason::NodeGone(_) = step.reason {
                let now: Timestamp = self.context.clock.now();
                status["conditions"] = json!([{
                    "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                    "message": "PodGC: node no longer exists", "lastTransitionTime": Time(now),
                    "observedGeneration": generation,
                }]);
            }
            let patch = Patch::Strategic(json!({"metadata": {"uid": pod.uid()}, "status": status}));
            api.patch_status(pod.name(), &patch, &PatchOptions::default()).await?;
        }
        api.delete(pod.name(), &DeleteOptions::now().uid(pod.uid())).await
    }
}

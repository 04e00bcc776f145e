//! The acting half of the scheduler: decisions in, requests out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{DeleteOptions, Patch, PatchOptions, Preconditions, WriteOptions};
use client::recorder::{EventType, Recorder};
use client::{Api, Client, Error, ObjectKey, Resource as _, Store};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use serde_json::{Value, json};
use tracing::{debug, error, info, warn};

use super::binding::{Binder, BindingError};
use super::configuration::Configuration;
use super::devices::Allotment;
use super::group_status;
use super::meters::{self, Attempted};
use super::planner::{Nomination, Outcome, Planner, Tries, Written};
use super::pod::PodId;
use super::volumes::Plan;
use super::writes::Writes;
use crate::{Context, pods};

/// What acts on decisions.
pub(super) struct Hands {
    context: Context,
    /// By the schedulers' names.
    recorders: HashMap<String, Recorder>,
    pods: Store<Pod>,
    claims: Store<ResourceClaim>,
    /// Where they are heeded.
    groups: Option<Store<PodGroup>>,
    binder: Binder,
    /// How long volumes are waited for, by the scheduler's name.
    patience: HashMap<String, Duration>,
    /// The attempts that are being written.
    writing: HashMap<PodId, Writing>,
}

/// An attempt whose decision is being written.
struct Writing {
    began: Duration,
    scheduler: String,
    tries: Tries,
}

/// Why a decision was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("bind the pod")]
    Bind(#[source] Error),
    #[error("bind the pod's volumes")]
    Volumes(#[source] BindingError),
    #[error("give the pod its devices")]
    Devices(#[source] Error),
}

impl Failure {
    fn request(&self) -> Option<&Error> {
        match self {
            Self::Bind(error) | Self::Devices(error) | Self::Volumes(BindingError::Request(error)) => {
                Some(error)
            }
            Self::Volumes(_) => None,
        }
    }
}

impl Hands {
    pub(super) fn new(
        context: Context,
        configuration: &Configuration,
        heeds_groups: bool,
        recorders: HashMap<String, Recorder>,
    ) -> Self {
        let patience =
            configuration.profiles.iter().map(|profile| (profile.name.clone(), profile.bind_timeout));
        Self {
            pods: context.informers.of::<Pod>().store(),
            claims: context.informers.of::<ResourceClaim>().store(),
            groups: heeds_groups.then(|| context.informers.of::<PodGroup>().store()),
            binder: Binder::new(&context),
            patience: patience.collect(),
            writing: HashMap::default(),
            context,
            recorders,
        }
    }

    /// Begins to write a decision down.
    pub(super) fn act(
        &mut self,
        planner: &mut Planner,
        writes: &mut Writes,
        outcome: Outcome,
        began: Duration,
    ) {
        let took = self.context.clock.elapsed().saturating_sub(began);
        match outcome {
            Outcome::Chosen { pod, node, plan, tries } => {
                debug!(%pod, %node, "decided");
                let Some(shown) = self.shown(&pod) else {
                    planner.written(&pod, Written::Gone, self.context.clock.elapsed());
                    return;
                };
                let scheduler = scheduler_of(&shown).to_owned();
                self.writing.insert(pod.clone(), Writing { began, scheduler, tries });
                let writing = self.bind(shown, node, plan.clone());
                writes.spawn(pod, plan.has_volumes(), async move {
                    let bound = base::panics::catch_async(writing).await;
                    Some(bound.unwrap_or_else(|panic| Err(Failure::Bind(panic.into()))))
                });
            }
            Outcome::Refused { pod, message, by, nomination, sought_room } => {
                info!(%pod, message, ?by, "cannot be scheduled");
                let Some(shown) = self.shown(&pod) else { return };
                meters::attempted(scheduler_of(&shown), Attempted::Unschedulable, took);
                if sought_room {
                    let victims = match &nomination {
                        Nomination::At { victims, .. } => Some(victims.len()),
                        Nomination::Same | Nomination::None => None,
                    };
                    meters::sought_room(victims);
                }
                self.event(&shown, EventType::Warning, "FailedScheduling", message.clone());
                let telling = self.tell(shown.clone(), message, nomination);
                writes.spawn(pod, false, async move {
                    if let Err(panic) = base::panics::catch_async(telling).await {
                        error!(pod = %shown.key(), %panic, "telling why a pod waits panicked");
                    }
                    None
                });
            }
            Outcome::Failed { pod, panic, delay } => {
                error!(%pod, %panic, ?delay, "deciding about a pod panicked, trying again");
                let shown = self.shown(&pod);
                let scheduler = shown.as_deref().map_or(super::pod::NAME, scheduler_of);
                meters::attempted(scheduler, Attempted::Error, took);
            }
            Outcome::Grouped { group, refused } => self.tell_group(writes, &group, refused),
        }
    }

    /// Begins to write down how the pods of a group were placed.
    fn tell_group(&self, writes: &mut Writes, group: &ObjectKey, refused: Option<String>) {
        let Some(shown) = self.groups.as_ref().and_then(|groups| groups.get(group)) else { return };
        let api = Api::<PodGroup>::namespaced(&self.context.client, &group.namespace);
        let now = self.context.clock.now();
        // What is written of one group is written one after the other, as of a pod.
        let id = PodId { key: group.clone(), uid: shown.uid().into() };
        writes.spawn(id, false, async move {
            let telling = group_status::tell(&api, &shown, refused.as_deref(), now);
            if let Err(panic) = base::panics::catch_async(telling).await {
                error!(group = %shown.key(), %panic, "telling how a group of pods was placed panicked");
            }
            None
        });
    }

    /// Takes in how a writing ended.
    pub(super) fn note(&mut self, planner: &mut Planner, pod: &PodId, bound: Option<Result<(), Failure>>) {
        let Some(bound) = bound else { return };
        if let Some(Writing { began, scheduler, tries }) = self.writing.remove(pod) {
            let now = self.context.clock.elapsed();
            let result = if bound.is_ok() { Attempted::Scheduled } else { Attempted::Error };
            meters::attempted(&scheduler, result, now.saturating_sub(began));
            if bound.is_ok() {
                meters::placed(tries.number, now.saturating_sub(tries.since));
            }
        }
        let request = bound.as_ref().err().and_then(Failure::request);
        let written = match (&bound, request) {
            (Ok(()), _) => Written::Bound,
            (Err(Failure::Bind(_)), Some(Error::NotFound(_))) => Written::Gone,
            (Err(_), _) => Written::Failed,
        };
        let is_nothing_new = matches!(request, Some(Error::NotFound(_) | Error::Conflict(_)));
        let delay = planner.written(pod, written, self.context.clock.elapsed());
        match &bound {
            // Somebody else bound it, or deletes it.
            Err(error) if !is_nothing_new => {
                warn!(%pod, error = %base::error::chain(error), ?delay, "cannot write the decision");
                if let (Failure::Volumes(error), Some(shown)) = (error, self.shown(pod)) {
                    let chain = base::error::chain(error);
                    let message =
                        format!("running PreBind plugin \"VolumeBinding\": binding volumes: {chain}");
                    self.event(&shown, EventType::Warning, "FailedScheduling", message);
                }
            }
            _ => {}
        }
    }

    /// The pod as the API shows it; nothing if it is gone.
    fn shown(&self, pod: &PodId) -> Option<Arc<Pod>> {
        self.pods.get(&pod.key).filter(|shown| *shown.uid() == *pod.uid)
    }

    fn event(&self, pod: &Pod, kind: EventType, reason: &str, message: String) {
        if let Some(recorder) = self.recorders.get(scheduler_of(pod)) {
            recorder.event(pod, kind, reason, message);
        }
    }

    fn api(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(&self.context.client, namespace)
    }

    /// Binds the pod's volumes, and then the pod.
    fn bind(
        &self,
        pod: Arc<Pod>,
        node: Arc<str>,
        plan: Plan,
    ) -> impl Future<Output = Result<(), Failure>> + use<> {
        let scheduler = scheduler_of(&pod);
        let (api, recorder) = (self.api(&pod.key().namespace), self.recorders.get(scheduler).cloned());
        let patience = self.patience.get(scheduler);
        let patience = patience.copied().unwrap_or(Duration::from_secs(600));
        let (binder, client) = (self.binder.clone(), self.context.client.clone());
        let claims = self.claims.clone();
        async move {
            for allotment in &plan.devices {
                let revision = allot(&client, &pod, allotment).await.map_err(Failure::Devices)?;
                // Once it is shown the planner does not have to remember it.
                let _ = tokio::time::timeout(patience, claims.reached(revision)).await;
            }
            if plan.has_volumes() {
                binder.bind(&node, &plan, patience).await.map_err(Failure::Volumes)?;
            }
            bind(&api, recorder.as_ref(), &pod, &node).await.map_err(Failure::Bind)
        }
    }

    /// Writes why the pod waits, has others go for it where that is decided, and notes where.
    fn tell(
        &self,
        pod: Arc<Pod>,
        message: String,
        nomination: Nomination,
    ) -> impl Future<Output = ()> + use<> {
        let client = self.context.client.clone();
        let api = move |namespace: &str| Api::<Pod>::namespaced(&client, namespace);
        let recorder = self.recorders.get(scheduler_of(&pod)).cloned();
        let clock = Arc::clone(&self.context.clock);
        let found = |victim: &PodId| Some((victim.clone(), self.shown(victim)?));
        let (mut going, mut displaced, mut node) = (Vec::new(), Vec::new(), None);
        if let Nomination::At { node: at, victims, displaced: others } = &nomination {
            going = victims.iter().filter_map(found).collect();
            displaced.clone_from(others);
            node = Some(Arc::clone(at));
        }
        async move {
            for other in displaced {
                let patch = json!({"metadata": {"uid": &*other.uid}, "status": {"nominatedNodeName": null}});
                let api = api(&other.key.namespace);
                patch_status(&api, &other.key.name, patch, "cannot take back where a pod was to go").await;
            }
            let own = api(&pod.key().namespace);
            tell(&own, &pod, &message, &nomination, clock.now()).await;
            if let Some(node) = node {
                let (recorder, now) = (recorder.as_ref(), clock.now());
                let evictor = Evictor { recorder, node: &node, preemptor: &pod, now };
                for (victim, shown) in going {
                    evictor.evict(&api(&victim.key.namespace), &victim, &shown).await;
                }
            }
        }
    }
}

/// Has pods go for another.
struct Evictor<'a> {
    recorder: Option<&'a Recorder>,
    node: &'a str,
    preemptor: &'a Pod,
    now: base::Timestamp,
}

impl Evictor<'_> {
    async fn evict(&self, api: &Api<Pod>, victim: &PodId, shown: &Pod) {
        if shown.metadata.deletion_timestamp.is_some() {
            return;
        }
        let scheduler = scheduler_of(self.preemptor);
        let patch = json!({
            "metadata": {"uid": &*victim.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
                "lastTransitionTime": whole_second(self.now),
                "observedGeneration": shown.metadata.generation,
            }]},
        });
        patch_status(api, &victim.key.name, patch, "cannot say why a pod goes").await;
        let options = DeleteOptions {
            preconditions: Preconditions { uid: Some(victim.uid.to_string()), ..Preconditions::default() },
            ..DeleteOptions::default()
        };
        match api.delete(&victim.key.name, &options).await {
            Ok(()) => {
                let message = format!("Preempted by pod {} on node {}", self.preemptor.uid(), self.node);
                if let Some(recorder) = self.recorder {
                    recorder.event(shown, EventType::Normal, "Preempted", message);
                }
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => {}
            Err(error) => {
                warn!(pod = %victim, error = %base::error::chain(&error), "cannot have a pod go for another");
            }
        }
    }
}

/// Gives a claim its devices, if it has none, and the claim to the pod.
/// Gives the revision of what was written.
async fn allot(client: &Client, pod: &Pod, allotment: &Allotment) -> Result<u64, Error> {
    const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
    let ObjectKey { namespace, name } = &allotment.claim;
    let api = Api::<ResourceClaim>::namespaced(client, namespace);
    let options = PatchOptions::default();
    let mut claim = api.get(name).await?;
    let mut finalizers = claim.metadata.finalizers.clone().unwrap_or_default();
    if allotment.allocation.is_some() && !finalizers.iter().any(|known| known == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
        let patch =
            json!({"metadata": {"resourceVersion": claim.resource_version(), "finalizers": finalizers}});
        claim = api.patch(name, &Patch::Merge(patch), &options).await?;
    }
    let status = claim.status.clone().unwrap_or_default();
    let mut consumers = status.reserved_for.unwrap_or_default();
    if !consumers.iter().any(|one| one.uid == pod.uid()) {
        consumers.push(ResourceClaimConsumerReference {
            resource: "pods".to_owned(),
            name: pod.name().to_owned(),
            uid: pod.uid().to_owned(),
            ..ResourceClaimConsumerReference::default()
        });
    }
    let mut patch = json!({
        "metadata": {"resourceVersion": claim.resource_version()}, "status": {"reservedFor": consumers},
    });
    // Somebody may have been faster: what it has stays.
    if let (None, Some(allocation)) = (&status.allocation, &allotment.allocation) {
        patch["status"]["allocation"] = json!(allocation);
    }
    Ok(api.patch_status(name, &Patch::Merge(patch), &options).await?.revision())
}

async fn patch_status(api: &Api<Pod>, name: &str, patch: Value, failed: &'static str) {
    if let Err(error) = api.patch_status(name, &Patch::Strategic(patch), &PatchOptions::default()).await {
        debug!(pod = name, error = %base::error::chain(&error), "{failed}");
    }
}

async fn bind(api: &Api<Pod>, recorder: Option<&Recorder>, pod: &Pod, node: &str) -> Result<(), Error> {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let options = WriteOptions::default();
    let bound = api.create_subresource::<Value>(pod.name(), "binding", &binding, &options).await;
    if let Err(error) = bound {
        // Its answer may have been lost, and a repetition met what it had done: what it takes of the node
        // must not be given away again.
        let refused = matches!(error, Error::NotFound(_) | Error::Invalid(_) | Error::Forbidden(_));
        if refused || !is_bound(api, pod, node).await {
            return Err(error);
        }
    }
    let message = format!("Successfully assigned {} to {node}", pod.key());
    if let Some(recorder) = recorder {
        recorder.event(pod, EventType::Normal, "Scheduled", message);
    }
    Ok(())
}

/// Whether the API shows the pod on this node.
async fn is_bound(api: &Api<Pod>, pod: &Pod, node: &str) -> bool {
    let shown = api.find(pod.name()).await.ok().flatten().filter(|shown| shown.uid() == pod.uid());
    shown.and_then(|shown| shown.spec?.node_name).is_some_and(|shown| shown == node)
}

/// Whom a pod has asked for a node.
fn scheduler_of(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    name.filter(|name| !name.is_empty()).unwrap_or(super::pod::NAME)
}

pub(super) fn whole_second(time: base::Timestamp) -> base::Timestamp {
    base::Timestamp::from_second(time.as_second()).expect("cutting a time stays in range")
}

/// Writes the condition that says why the pod waits, and where others go for it.
async fn tell(api: &Api<Pod>, pod: &Pod, message: &str, nomination: &Nomination, now: base::Timestamp) {
    let known = pods::condition(pod, "PodScheduled");
    let told = known.is_some_and(|condition| condition.message.as_deref() == Some(message));
    let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
    let nominated = nominated.filter(|node| !node.is_empty());
    let change = match nomination {
        Nomination::At { node, .. } if nominated != Some(node) => Some(json!(&**node)),
        Nomination::None if nominated.is_some() => Some(Value::Null),
        _ => None,
    };
    if told && change.is_none() {
        return;
    }
    let now = whole_second(now);
    let since = known
        .filter(|c| c.status == "False")
        .and_then(|c| c.last_transition_time.as_ref())
        .map_or(now, |time| time.0);
    let mut patch = json!({
        "metadata": {"uid": pod.uid()},
        "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": message, "lastTransitionTime": since,
        }]},
    });
    if let Some(change) = change {
        patch["status"]["nominatedNodeName"] = change;
    }
    patch_status(api, pod.name(), patch, "cannot tell why the pod waits").await;
}

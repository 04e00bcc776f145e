//! ReplicaSets and ReplicationControllers: so many pods of a template, no more and no fewer.

use std::sync::Arc;
use std::time::Duration;

use client::api::{DeleteOptions, Preconditions};
use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, Error, Freshness, ObjectKey, Outline as _, Outlined, Outlines, Reconcile,
    Resource as _, Store,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tracing::debug;

use crate::pods::{OutlinedPod, PodOutline};
use crate::ready::ReadyAges;
use crate::{Context, making, ownership, pods, selecting};

mod plan;
mod set;

use plan::{Step, plan, status};
pub(crate) use set::Set;
use set::{Counts, Failure};

/// Runs the controller of one kind of sets.
pub(crate) async fn run<S: Set>(context: Context, recorder: Recorder) {
    let sets = context.informers.of::<S>();
    let all_pods = context.informers.of::<Pod>();
    let reconciler = Reconciler {
        sets: sets.store(),
        pods: all_pods.store(),
        outlines: all_pods.outlines(),
        fresh: Freshness::new(all_pods.store()),
        recorder,
        ready: ReadyAges::default(),
        context: context.clone(),
    };
    Controller::new(S::CONTROLLER, &sets)
        .owns(&all_pods)
        .watches(&all_pods, selecting::orphans(&sets, S::selector))
        .workers(8)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler<S> {
    context: Context,
    sets: Store<S>,
    pods: Store<Pod>,
    /// What is looked at of all pods of a set.
    outlines: Outlines<Pod, PodOutline>,
    fresh: Freshness<Pod>,
    recorder: Recorder,
    ready: ReadyAges,
}

impl<S: Set> Reconcile for Reconciler<S> {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(set) = self.sets.get(key) else {
            self.fresh.forget(key);
            self.ready.forget(key);
            return Ok(Action::Done);
        };
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let (mut owned, others) = self.owned(&set);
        let mut acted = Ok(());
        let wanted = set.wanted();
        if set.metadata().deletion_timestamp.is_none() {
            self.release(key, &set, others).await?;
            let adopted = self.adopt(key, &set).await?;
            owned.extend(adopted);
            let steps = plan(wanted, &owned);
            if !steps.is_empty() && self.stays(key, &set).await? {
                debug!(set = %key, kind = S::CONTROLLER, steps = steps.len(), "acting");
                acted = self.act(key, &set, steps).await;
                owned = self.owned(&set).0;
            }
        }
        let failure = acted.as_ref().err().and_then(|error| plan::failure(wanted, &owned, error));
        let published = self.publish(key, &set, &owned, failure).await;
        acted.and(published)
    }
}

impl<S: Set> Reconciler<S> {
    /// The set's pods, and those whose labels no longer fit: they are none of them, though they still name
    /// the set.
    fn owned(&self, set: &S) -> (Vec<OutlinedPod>, Vec<OutlinedPod>) {
        let all = self.outlines.by_controller(set.namespace().unwrap_or_default(), set.uid());
        match set.selector() {
            Some(selector) => all.into_iter().partition(|pod| pod.is_selected(&selector)),
            None => (all, Vec::new()),
        }
    }

    /// Whether the set is there to stay. Asked of the API: the cache may not show yet that it goes and
    /// leaves its pods behind, and pods that are made for it now would be nobody's.
    async fn stays(&self, key: &ObjectKey, set: &S) -> Result<bool, Error> {
        let sets: Api<S> = Api::namespaced(&self.context.client, &key.namespace);
        ownership::stays(&sets, set).await
    }

    /// Lets go of pods that the selector no longer fits: somebody has set them apart to look at them.
    async fn release(&self, key: &ObjectKey, set: &S, pods: Vec<OutlinedPod>) -> Result<(), Error> {
        for pod in pods.iter().filter(|pod| !pod.outline.is_ending).filter_map(|pod| self.same(pod)) {
            let api: Api<Pod> = Api::namespaced(&self.context.client, &key.namespace);
            ownership::release(&api, set, &*pod).await?;
        }
        Ok(())
    }

    /// The pod that an outline is of, if it is there still.
    fn same(&self, pod: &OutlinedPod) -> Option<Arc<Pod>> {
        self.pods.get(&pod.key).filter(|found| found.uid() == &*pod.outline.uid)
    }

    /// Takes over pods that the selector fits and nobody owns.
    async fn adopt(&self, key: &ObjectKey, set: &S) -> Result<Vec<OutlinedPod>, Error> {
        let Some(selector) = set.selector() else { return Ok(Vec::new()) };
        let mut adopted = Vec::new();
        for pod in self.pods.select_orphans(&key.namespace, &selector) {
            if !pods::is_active(&pod) {
                continue;
            }
            if !self.stays(key, set).await? {
                return Ok(adopted);
            }
            let api: Api<Pod> = Api::namespaced(&self.context.client, &key.namespace);
            if let Some(pod) = ownership::adopt(&api, set, &*pod).await? {
                self.fresh.created(key, &pod);
                let labels = Arc::new(pod.metadata.labels.clone().unwrap_or_default());
                adopted.push(Outlined { key: pod.key(), labels, outline: Arc::new(PodOutline::of(&pod)) });
            }
        }
        Ok(adopted)
    }

    /// Creates and deletes. Creations begin with one and double, so that a template that is refused
    /// is refused once and not a hundred times.
    async fn act(&self, key: &ObjectKey, set: &S, steps: Vec<Step>) -> Result<(), Error> {
        let (mut create, mut delete) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Create => create += 1,
                Step::Delete(pod) => delete.push(pod),
            }
        }
        let mut batch = 1;
        while create > 0 {
            if batch > 1 && !self.stays(key, set).await? {
                return Ok(());
            }
            let now = batch.min(create);
            let results = join_all((0..now).map(|_| self.create(key, set))).await;
            results.into_iter().collect::<Result<(), _>>()?;
            create -= now;
            batch *= 2;
        }
        let there: Vec<Arc<Pod>> = delete.iter().filter_map(|pod| self.same(pod)).collect();
        let results = join_all(there.iter().map(|pod| self.delete(key, set, pod))).await;
        results.into_iter().collect()
    }

    async fn create(&self, key: &ObjectKey, set: &S) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.context.client, &key.namespace);
        let pod = making::pod(set, set.template().cloned().unwrap_or_default());
        if let Some(pod) = making::create(&api, &self.recorder, set, &pod).await? {
            self.fresh.created(key, &pod);
        }
        Ok(())
    }

    async fn delete(&self, key: &ObjectKey, set: &S, pod: &Pod) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(&self.context.client, &key.namespace);
        let preconditions = Preconditions { uid: Some(pod.uid().to_owned()), ..Preconditions::default() };
        match api.delete(pod.name(), &DeleteOptions { preconditions, ..DeleteOptions::default() }).await {
            Ok(()) => {
                self.fresh.deleted(key, pod);
                let message = format!("Deleted pod: {}", pod.name());
                self.recorder.event(set, EventType::Normal, "SuccessfulDelete", message);
                Ok(())
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Publishes the status if it changed; comes back when a pod will have been ready long enough.
    async fn publish(
        &self,
        key: &ObjectKey,
        set: &S,
        owned: &[OutlinedPod],
        failure: Option<Failure>,
    ) -> Result<Action, Error> {
        let since = owned.iter().map(|pod| &pod.outline);
        let since = since.filter_map(|pod| Some((pod.uid.clone().into_string(), pod.ready_since?)));
        let available = self.ready.look(key, &*self.context.clock, set.least_ready(), since);
        let (next, wake) = status(set, owned, &available);
        let next = Counts { terminating: set.counts().terminating.and(next.terminating), ..next };
        // What failed first is told as long as something does.
        let failure = failure.map(|failure| set.failure().unwrap_or(failure));
        if next != set.counts() || failure != set.failure() {
            let api: Api<S> = Api::namespaced(&self.context.client, &key.namespace);
            let mut changed = S::clone(set);
            changed.set_status(next, failure, Time(self.context.clock.now()));
            match api.update_status(&changed).await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                // The cache is behind; its next change brings us back.
                Err(Error::Conflict(_)) => return Ok(Action::After(Duration::from_millis(20))),
                Err(error) => return Err(error),
            }
        }
        Ok(wake.map_or(Action::Done, Action::After))
    }
}

//! Deployments: ReplicaSets that succeed each other without an outage.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::clock::Ages;
use client::api::{DeleteOptions, Patch, PatchOptions, Preconditions};
use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, Error, Freshness, ObjectKey, Outlines, Reconcile, Resource as _, Store,
};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::json;

use crate::pods::PodOutline;
use crate::{Context, ownership, selector};

mod hash;
mod plan;
mod revision;
mod rolling;
mod status;

use plan::{Step, plan};
pub(crate) use rolling::resolve;

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let deployments = context.informers.of::<Deployment>();
    let sets = context.informers.of::<ReplicaSet>();
    let all_pods = context.informers.of::<Pod>();
    let reconciler = Reconciler {
        deployments: deployments.store(),
        sets: sets.store(),
        pods: all_pods.outlines(),
        fresh: Freshness::new(sets.store()),
        recorder,
        progress: Mutex::default(),
        context: context.clone(),
    };
    // A deployment that recreates waits for the last old pod to be gone.
    let (by_uid, owners) = (deployments.store(), sets.store());
    let of_pod = move |pod: &Pod| -> Vec<ObjectKey> {
        let Some(owner) = pod.controller().filter(|owner| owner.kind == "ReplicaSet") else {
            return Vec::new();
        };
        let set = owners.get(&ObjectKey::new(pod.namespace().unwrap_or_default(), owner.name));
        let deployment = set.and_then(|set| set.controller());
        let key = deployment.map(|owner| ObjectKey::new(pod.namespace().unwrap_or_default(), owner.name));
        key.filter(|key| by_uid.get(key).is_some_and(|found| plan::recreates(&found))).into_iter().collect()
    };
    Controller::new("deployment", &deployments)
        .owns(&sets)
        .watches(&all_pods, of_pod)
        .workers(8)
        .run_by(reconciler, context.stop)
        .await;
}

struct Reconciler {
    context: Context,
    deployments: Store<Deployment>,
    sets: Store<ReplicaSet>,
    pods: Outlines<Pod, PodOutline>,
    fresh: Freshness<ReplicaSet>,
    recorder: Recorder,
    /// How long ago each rollout last came on.
    progress: Mutex<HashMap<ObjectKey, Ages<()>>>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(deployment) = self.deployments.get(key) else {
            self.fresh.forget(key);
            self.progress.lock().remove(key);
            return Ok(Action::Done);
        };
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        if deployment.metadata.deletion_timestamp.is_none() {
            self.adopt(key, &deployment).await?;
        }
        let sets: Vec<Arc<ReplicaSet>> = self.sets.by_controller(deployment.uid());
        if deployment.metadata.deletion_timestamp.is_none() {
            let old_pods = self.running_pods(&deployment, &sets);
            for step in plan(&deployment, &sets, old_pods) {
                if !self.stays(key, &deployment).await? {
                    return Ok(Action::Done);
                }
                self.perform(key, &deployment, step).await?;
            }
        }
        self.publish(key, &deployment, &sets).await
    }
}

impl Reconciler {
    /// Whether pods of any set but the newest still run.
    fn running_pods(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
        let newest = plan::newest(deployment, sets).map(|set| set.uid().to_owned());
        let old = sets.iter().filter(|set| Some(set.uid()) != newest.as_deref());
        old.flat_map(|set| self.pods.by_controller(set.uid())).any(|pod| !pod.outline.is_terminal())
    }

    /// Whether the deployment is there to stay. Asked of the API: the cache may not show yet that it
    /// goes and leaves its sets behind.
    async fn stays(&self, key: &ObjectKey, deployment: &Deployment) -> Result<bool, Error> {
        let deployments: Api<Deployment> = Api::namespaced(&self.context.client, &key.namespace);
        ownership::stays(&deployments, deployment).await
    }

    /// Takes over sets that the selector fits and nobody owns.
    async fn adopt(&self, key: &ObjectKey, deployment: &Deployment) -> Result<(), Error> {
        let Some(selector) = deployment.spec.as_ref().and_then(|spec| selector(&spec.selector)) else {
            return Ok(());
        };
        for set in self.sets.select_orphans(&key.namespace, &selector) {
            if set.metadata.deletion_timestamp.is_some() {
                continue;
            }
            if !self.stays(key, deployment).await? {
                return Ok(());
            }
            if let Some(set) = ownership::adopt(&self.api(key), deployment, &*set).await? {
                self.fresh.created(key, &set);
            }
        }
        Ok(())
    }

    async fn perform(&self, key: &ObjectKey, deployment: &Deployment, step: Step) -> Result<(), Error> {
        match step {
            Step::Create(set) => match self.api(key).create(&set).await {
                Ok(set) => {
                    self.fresh.created(key, &set);
                    let message = scaled("up", set.name(), 0, replicas(&set));
                    self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
                    Ok(())
                }
                Err(Error::Forbidden(status)) if status.is_namespace_terminating() => Ok(()),
                Err(Error::AlreadyExists(_)) => self.count_collision(key, deployment).await,
                Err(error) => Err(error),
            },
            Step::Update { set, replicas: wanted, annotations } => {
                let before = replicas(&set);
                let mut patch = json!({"metadata": {"uid": set.uid(), "annotations": annotations}});
                if wanted != before {
                    patch["spec"] = json!({ "replicas": wanted });
                }
                let changed = match self
                    .api(key)
                    .patch(set.name(), &Patch::Merge(patch), &PatchOptions::default())
                    .await
                {
                    Ok(changed) => changed,
                    Err(Error::NotFound(_) | Error::Conflict(_)) => return Ok(()),
                    Err(error) => return Err(error),
                };
                self.fresh.created(key, &changed);
                if wanted != before {
                    let direction = if wanted > before { "up" } else { "down" };
                    let message = scaled(direction, set.name(), before, wanted);
                    self.recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", message);
                }
                Ok(())
            }
            Step::Delete(set) => {
                let preconditions =
                    Preconditions { uid: Some(set.uid().to_owned()), ..Preconditions::default() };
                let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
                match self.api(key).delete(set.name(), &options).await {
                    Ok(()) => {
                        self.fresh.deleted(key, &set);
                        Ok(())
                    }
                    Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Step::Annotate(revision) => {
                let mut changed = deployment.clone();
                let annotations = changed.metadata.annotations.get_or_insert_default();
                annotations.insert(revision::ANNOTATION.to_owned(), revision);
                let api: Api<Deployment> = Api::namespaced(&self.context.client, &key.namespace);
                // Where somebody has changed it, that brings it here again.
                match api.update(&changed).await {
                    Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
                    Err(error) => Err(error),
                }
            }
        }
    }

    /// Two templates with the same hash: the next try gets another one.
    async fn count_collision(&self, key: &ObjectKey, deployment: &Deployment) -> Result<(), Error> {
        let known = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        // Any other number than the last one makes another hash.
        let count = known.wrapping_add(1);
        let api: Api<Deployment> = Api::namespaced(&self.context.client, &key.namespace);
        let mut changed = deployment.clone();
        changed.status.get_or_insert_default().collision_count = Some(count);
        match api.update_status(&changed).await {
            Ok(_) | Err(Error::NotFound(_) | Error::Conflict(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn publish(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        sets: &[Arc<ReplicaSet>],
    ) -> Result<Action, Error> {
        let clock = &*self.context.clock;
        let spent = {
            let mut progress = self.progress.lock();
            let moment = status::progressed_at(deployment).map(|moment| ((), moment));
            progress.entry(key.clone()).or_default().look(clock, moment).remove(&())
        };
        let (next, wake) = status::status(deployment, sets, clock.now(), spent.unwrap_or_default());
        if deployment.status.as_ref() != Some(&next) {
            let api: Api<Deployment> = Api::namespaced(&self.context.client, &key.namespace);
            let mut changed = Deployment::clone(deployment);
            changed.status = Some(next);
            match api.update_status(&changed).await {
                Ok(_) | Err(Error::NotFound(_)) => {}
                Err(Error::Conflict(_)) => return Ok(Action::After(Duration::from_millis(20))),
                Err(error) => return Err(error),
            }
        }
        Ok(wake.map_or(Action::Done, Action::After))
    }

    fn api(&self, key: &ObjectKey) -> Api<ReplicaSet> {
        Api::namespaced(&self.context.client, &key.namespace)
    }
}

/// How many pods a set is to have.
fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn scaled(direction: &str, name: &str, before: i32, after: i32) -> String {
    format!("Scaled {direction} replica set {name} from {before} to {after}")
}

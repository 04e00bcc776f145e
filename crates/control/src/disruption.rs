//! Disruption budgets: how many of their pods may be evicted now. The eviction of a pod asks the status that is
//! written here, and notes in it which pod it takes.

use std::collections::HashSet;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, Error, Informer, ObjectKey, Outlines, Reconcile, Resource as _, Store,
};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::OwnerReference;

use crate::Context;
use crate::pods::PodOutline;

mod plan;

use plan::{Scale, Seen, expected, status};

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let budgets = context.informers.of::<PodDisruptionBudget>();
    let all_pods = context.informers.of::<Pod>();
    let known = budgets.store();
    let of_pod = move |pod: &Pod| -> Vec<ObjectKey> {
        let budgets = known.list_namespace(pod.namespace().unwrap_or_default());
        let selects = |budget: &PodDisruptionBudget| {
            plan::selector(budget).is_some_and(|selector| pod.is_selected(&selector))
        };
        budgets.iter().filter(|budget| selects(budget)).map(|budget| budget.key()).collect()
    };
    let sets = context.informers.of::<ReplicaSet>();
    let deployments = context.informers.of::<Deployment>();
    let stateful_sets = context.informers.of::<StatefulSet>();
    let controllers = context.informers.of::<ReplicationController>();
    let reconciler = Reconciler {
        budgets: budgets.store(),
        pods: all_pods.outlines(),
        whole: all_pods.store(),
        scales: Scales {
            sets: sets.store(),
            deployments: deployments.store(),
            stateful_sets: stateful_sets.store(),
            controllers: controllers.store(),
        },
        recorder,
        context: context.clone(),
    };
    let controller = Controller::new("disruption", &budgets).watches(&all_pods, of_pod);
    let known = budgets.store();
    let controller = follow(controller, &sets, &known, |set| {
        (set.metadata.generation, set.spec.as_ref().and_then(|spec| spec.template.as_ref()))
    });
    let controller = follow(controller, &deployments, &known, |deployment| {
        (deployment.metadata.generation, deployment.spec.as_ref().map(|spec| &spec.template))
    });
    let controller = follow(controller, &stateful_sets, &known, |set| {
        (set.metadata.generation, set.spec.as_ref().map(|spec| &spec.template))
    });
    let controller = follow(controller, &controllers, &known, |set| {
        (set.metadata.generation, set.spec.as_ref().and_then(|spec| spec.template.as_ref()))
    });
    controller.run_by(reconciler, context.stop).await;
}

/// Also reconciles budgets to whose pods it matters how many of them there should be, when that changes for those who
/// make such pods. `told` gives the generation of one, and what its pods are made from.
fn follow<K: client::Resource>(
    controller: Controller,
    informer: &Informer<K>,
    budgets: &Store<PodDisruptionBudget>,
    told: fn(&K) -> (Option<i64>, Option<&PodTemplateSpec>),
) -> Controller {
    let (queue, budgets) = (controller.queue(), budgets.clone());
    informer.on_change(move |change| {
        let new = change.object();
        let wanted =
            |maker: &K| (told(maker).0, maker.uid().to_owned(), maker.controller().map(|owner| owner.uid));
        // Of what changes, most is the status.
        if change.old().is_some_and(|old| wanted(old) == wanted(new)) {
            return;
        }
        let budgets = budgets.list_namespace(new.namespace().unwrap_or_default());
        if budgets.is_empty() {
            return;
        }
        for maker in change.old().into_iter().chain([new]) {
            let labels = told(maker).1.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
            plan::concerned(&budgets, labels).into_iter().for_each(|key| queue.add(key));
        }
    });
    controller.reads(informer)
}

struct Reconciler {
    context: Context,
    budgets: Store<PodDisruptionBudget>,
    pods: Outlines<Pod, PodOutline>,
    whole: Store<Pod>,
    scales: Scales,
    recorder: Recorder,
}

/// Those who make pods and say how many there should be.
struct Scales {
    sets: Store<ReplicaSet>,
    deployments: Store<Deployment>,
    stateful_sets: Store<StatefulSet>,
    controllers: Store<ReplicationController>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(Action::Done) };
        let selected = plan::selector(&budget).map(|selector| self.pods.select(&key.namespace, &selector));
        let selected = selected.unwrap_or_default();
        let asks = plan::asks_for_scales(&budget);
        let mut scales = plan::KnownScales::default();
        let seen: Vec<Seen> = selected
            .iter()
            .map(|pod| Seen {
                name: pod.key.name.clone(),
                is_ready: pod.outline.is_ready,
                is_ending: pod.outline.is_ending,
                is_terminal: pod.outline.is_terminal(),
                scale: self
                    .pods
                    .controller_of(&pod.key)
                    .filter(|_| asks)
                    .and_then(|owner| scales.of(&owner, || self.scale_of(&pod.key, &owner))),
            })
            .collect();
        if seen.is_empty() {
            self.recorder.event(&*budget, EventType::Normal, "NoPods", "No matching pods found");
        }
        let now = self.context.clock.now();
        let expected = expected(&budget, &seen);
        if expected.as_ref().is_ok_and(|expected| expected.unmanaged) {
            let message = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status \
                           of the PDB cannot be calculated correctly, which may result in undefined behavior. To \
                           account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.";
            self.recorder.event(&*budget, EventType::Warning, "UnmanagedPods", message);
        }
        if let Err(why) = &expected {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            self.recorder.event(&*budget, EventType::Warning, "CalculateExpectedPodCountFailed", message);
        }
        let (next, wake) = status(&budget, &seen, expected, Time(now));
        self.publish(key, &budget, next).await.map(|action| match (action, wake) {
            (Action::Done, Some(wake)) => Action::After(wake),
            (action, _) => action,
        })
    }
}

impl Reconciler {
    async fn publish(
        &self,
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
        next: PodDisruptionBudgetStatus,
    ) -> Result<Action, Error> {
        if budget.status.as_ref() == Some(&next) {
            return Ok(Action::Done);
        }
        let api: Api<PodDisruptionBudget> = Api::namespaced(&self.context.client, &key.namespace);
        let mut changed = budget.clone();
        changed.status = Some(next);
        match api.update_status(&changed).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
            // An eviction has noted itself meanwhile; the next change of the cache brings us back.
            Err(Error::Conflict(_)) => Ok(Action::After(Duration::from_millis(20))),
            Err(error) => Err(error),
        }
    }

    /// How many the owner of a pod makes, which has this uid; none where it is the owner no more.
    fn scale_of(&self, key: &ObjectKey, uid: &str) -> Option<Scale> {
        let owner = self.whole.get(key)?.controller().filter(|owner| owner.uid == uid)?;
        Some(self.scales.of(&key.namespace, &owner))
    }
}

impl Scales {
    fn of(&self, namespace: &str, owner: &OwnerReference) -> Scale {
        let key = ObjectKey::new(namespace, owner.name.as_str());
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        let count = |replicas: Option<i32>| replicas.unwrap_or(1);
        let unknown = || Scale::Unscaled(format!("{}/{}", owner.kind, owner.name));
        match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let Some(set) = self.sets.get(&key).filter(|set| set.uid() == owner.uid) else {
                    return Scale::Gone;
                };
                match set.controller() {
                    Some(owner) if owner.kind == "Deployment" => {
                        let key = ObjectKey::new(namespace, owner.name.as_str());
                        let found = self.deployments.get(&key).filter(|found| found.uid() == owner.uid);
                        found.map_or(Scale::Gone, |found| Scale::Of {
                            uid: owner.uid,
                            replicas: count(found.spec.as_ref().and_then(|spec| spec.replicas)),
                        })
                    }
                    _ => Scale::Of {
                        uid: owner.uid.clone(),
                        replicas: count(set.spec.as_ref().and_then(|spec| spec.replicas)),
                    },
                }
            }
            ("apps", "StatefulSet") => {
                let found = self.stateful_sets.get(&key).filter(|found| found.uid() == owner.uid);
                found.map_or(Scale::Gone, |found| Scale::Of {
                    uid: owner.uid.clone(),
                    replicas: count(found.spec.as_ref().and_then(|spec| spec.replicas)),
                })
            }
            ("", "ReplicationController") => {
                let found = self.controllers.get(&key).filter(|found| found.uid() == owner.uid);
                found.map_or(Scale::Gone, |found| Scale::Of {
                    uid: owner.uid.clone(),
                    replicas: count(found.spec.as_ref().and_then(|spec| spec.replicas)),
                })
            }
            _ => unknown(),
        }
    }
}

/// The names of some pods.
fn names(seen: &[Seen]) -> HashSet<&str> {
    seen.iter().map(|pod| pod.name.as_str()).collect()
}

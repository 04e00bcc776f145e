//! What asks for it is rolled when data changes that its pods use.
//!
//! A Deployment, StatefulSet or DaemonSet with the annotation `gantry.dev/restart-on-change: "true"` notes on
//! itself what its pods use and a hash of it. When the hash becomes another and what is used has not, the hash
//! is written into the pod template, which rolls it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{
    Action, Api, Controller, Error, ObjectKey, Patch, PatchOptions, Reconcile, Resource as _, Store, Typed,
};
use k8s_openapi::Metadata;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use serde_json::json;

use crate::Context;

mod data;
mod plan;

use data::{Kind, hash_of, uses};
use plan::{Pending, Step, View, plan};

/// Asks for it.
const ASKED: &str = "gantry.dev/restart-on-change";
/// What was used last: of which objects, and a hash of their data.
const NOTED: &str = "gantry.dev/used-data";
/// For which data the pods were made anew.
const ROLLED: &str = "gantry.dev/restarted-for";
/// The index of those who ask for it, by what they use.
const USED: &str = "uses";

/// What has a pod template that can be rolled.
pub(crate) trait Rolled: Typed + Metadata<Ty = ObjectMeta> {
    /// What the controller is called.
    const CONTROLLER: &'static str;

    /// What its pods are made from.
    fn template(&self) -> Option<&PodTemplateSpec>;
}

macro_rules! rolled {
    ($kind:ty, $name:literal) => {
        impl Rolled for $kind {
            const CONTROLLER: &'static str = $name;

            fn template(&self) -> Option<&PodTemplateSpec> {
                Some(&self.spec.as_ref()?.template)
            }
        }
    };
}

rolled!(Deployment, "restart-on-change-deployment");
rolled!(StatefulSet, "restart-on-change-statefulset");
rolled!(DaemonSet, "restart-on-change-daemonset");

/// Runs the controllers of all kinds that can be rolled.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    tokio::join!(
        run_of::<Deployment>(context.clone(), recorder.clone()),
        run_of::<StatefulSet>(context.clone(), recorder.clone()),
        run_of::<DaemonSet>(context, recorder),
    );
}

async fn run_of<R: Rolled>(context: Context, recorder: Recorder) {
    let all = context.informers.of::<R>();
    let (maps, secrets) = (context.informers.of::<ConfigMap>(), context.informers.of::<Secret>());
    all.index(USED, |one: &R| {
        let namespace = one.namespace().unwrap_or_default();
        let used = one.template().filter(|_| asks(one)).map(uses).unwrap_or_default();
        let mut names: Vec<String> =
            used.iter().map(|used| place(used.kind, namespace, &used.name)).collect();
        names.dedup();
        names
    });
    let users = |store: Store<R>, kind: Kind, namespace: Option<&str>, name: &str| -> Vec<ObjectKey> {
        let users = store.by_index(USED, &place(kind, namespace.unwrap_or_default(), name));
        users.iter().map(|user| user.key()).collect()
    };
    let (by_map, by_secret) = (all.store(), all.store());
    let reconciler = Reconciler {
        all: all.store(),
        maps: maps.store(),
        secrets: secrets.store(),
        recorder,
        pending: Mutex::default(),
        context: context.clone(),
    };
    Controller::new(R::CONTROLLER, &all)
        .watches(&maps, move |map: &ConfigMap| {
            users(by_map.clone(), Kind::ConfigMap, map.namespace(), map.name())
        })
        .watches(&secrets, move |secret: &Secret| {
            users(by_secret.clone(), Kind::Secret, secret.namespace(), secret.name())
        })
        .workers(2)
        .run_by(reconciler, context.stop)
        .await;
}

fn place(kind: Kind, namespace: &str, name: &str) -> String {
    format!("{kind:?}/{namespace}/{name}")
}

fn annotation<'a>(metadata: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn asks<R: Rolled>(one: &R) -> bool {
    annotation(one.metadata(), ASKED) == Some("true")
}

struct Reconciler<R> {
    context: Context,
    all: Store<R>,
    maps: Store<ConfigMap>,
    secrets: Store<Secret>,
    recorder: Recorder,
    pending: Mutex<HashMap<ObjectKey, Pending>>,
}

impl<R: Rolled> Reconcile for Reconciler<R> {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(one) = self.all.get(key).filter(|one| asks(&**one) && !one.is_being_deleted()) else {
            self.pending.lock().remove(key);
            return Ok(Action::Done);
        };
        let used = one.template().map(uses).unwrap_or_default();
        let data = hash_of(
            &used,
            |name| self.maps.get(&ObjectKey::new(&*key.namespace, name)),
            |name| self.secrets.get(&ObjectKey::new(&*key.namespace, name)),
        );
        let step = {
            let mut all = self.pending.lock();
            let pending = all.entry(key.clone()).or_default();
            let noted = annotation(one.metadata(), NOTED);
            plan(
                &View { noted, used: &data::fingerprint(&used), data: data.as_ref() },
                pending,
                self.context.clock.elapsed(),
            )
        };
        match step {
            Step::Nothing => Ok(Action::Done),
            Step::Wait(rest) => Ok(Action::After(rest)),
            Step::Note(noted) => self.write(key, &one, &noted, None).await,
            Step::Roll { noted, data } => {
                let action = self.write(key, &one, &noted, Some(&data)).await?;
                if action == Action::Done {
                    let message = "Restarting pods: data that they use has changed";
                    self.recorder.event(&*one, EventType::Normal, "RestartedOnChange", message);
                }
                Ok(action)
            }
        }
    }
}

impl<R: Rolled> Reconciler<R> {
    /// On condition that it is what it was: what its pods use may have changed.
    async fn write(
        &self,
        key: &ObjectKey,
        one: &Arc<R>,
        noted: &str,
        rolled: Option<&str>,
    ) -> Result<Action, Error> {
        let mut patch = json!({"metadata": {
            "uid": one.uid(), "resourceVersion": one.resource_version(), "annotations": {NOTED: noted},
        }});
        if let Some(data) = rolled {
            patch["spec"] = json!({"template": {"metadata": {"annotations": {ROLLED: data}}}});
        }
        let api = Api::<R>::namespaced(&self.context.client, &key.namespace);
        match api.patch(&key.name, &Patch::Strategic(patch), &PatchOptions::default()).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
            Err(Error::Conflict(_)) => Ok(Action::After(Duration::from_millis(50))),
            Err(error) => Err(error),
        }
    }
}

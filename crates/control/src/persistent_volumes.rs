//! Persistent volumes and claims: which volume a claim gets, and what becomes of volumes that are let go of.
//!
//! A binding stands in both objects: the volume names the claim first, then the claim the volume. Whoever stops in
//! between is followed by one who goes on from what is written. Volumes are made, removed and made larger by whoever
//! their class names: here it is written down who that is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::recorder::{EventType, Recorder};
use client::{Action, Api, Client, Controller, Error, ObjectKey, Resource, Store, Typed};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use parking_lot::Mutex;

use crate::{Context, pods, protection};

mod changes;
mod expansion;
mod facts;
mod matching;
mod plan;

use plan::{ClaimStep, Told, VolumeStep};

pub(crate) use expansion::run as expansion;

/// How often claims that have no volume are looked at anyway, and told what they wait for: as Kubernetes' own does.
const PERIOD: Duration = Duration::from_secs(15);
const AGAIN: Action = Action::After(Duration::from_millis(20));

/// The index of volumes by the claim that they name, and of claims by the volume.
const BY_CLAIM: &str = "of-claim";
const BY_VOLUME: &str = "of-volume";
/// The index of pods that have no node yet, by the claims that they name.
const WAITING: &str = "waits-for-node-with-claim";

/// Runs the controller of both.
pub(crate) async fn run(context: Context, events: Recorder) {
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let volumes = context.informers.of::<PersistentVolume>();
    let classes = context.informers.of::<StorageClass>();
    let all_pods = context.informers.of::<Pod>();
    volumes
        .index(BY_CLAIM, |volume| facts::claim_key(volume).map(|key| key.to_string()).into_iter().collect());
    claims.index(BY_VOLUME, |claim| facts::volume_name(claim).map(str::to_owned).into_iter().collect());
    all_pods.index(WAITING, |pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        if !node.is_empty() || pods::is_terminal(pod) {
            return Vec::new();
        }
        let namespace = pod.namespace().unwrap_or_default();
        let named = protection::used_by(pod).into_iter();
        named.map(|claim| ObjectKey::new(namespace, claim).to_string()).collect()
    });
    let binder = Arc::new(Binder {
        claims: Latest::new(claims.store()),
        volumes: Latest::new(volumes.store()),
        classes: classes.store(),
        pods: all_pods.store(),
        client: context.client.clone(),
        events,
    });
    let unbound = |store: Store<PersistentVolumeClaim>| {
        move || -> Vec<ObjectKey> {
            let all = store.list();
            all.iter().filter(|claim| !facts::is_bound(claim)).map(|claim| claim.key()).collect()
        }
    };
    let (by_volume, by_class) = (unbound(claims.store()), unbound(claims.store()));
    let (of_volume, of_claim) = (claims.store(), volumes.store());
    let bind_claims = {
        let binder = Arc::clone(&binder);
        let reconcile = move |key: ObjectKey| {
            let binder = Arc::clone(&binder);
            async move { settled(binder.claim(&key).await) }
        };
        Controller::new("pvc-binder", &claims)
            .watches(&volumes, move |volume: &PersistentVolume| {
                // One that nobody has may be what somebody waits for.
                let mut keys: Vec<ObjectKey> = facts::claim_key(volume).into_iter().collect();
                if keys.is_empty() {
                    keys = by_volume();
                }
                keys.extend(of_volume.by_index(BY_VOLUME, volume.name()).iter().map(|claim| claim.key()));
                keys
            })
            .watches(&classes, move |_: &StorageClass| by_class())
            .reads(&all_pods)
            .workers(1)
            .run(reconcile, context.stop.clone())
    };
    let keep_volumes = {
        let reconcile = move |key: ObjectKey| {
            let binder = Arc::clone(&binder);
            async move { settled(binder.volume(&key).await) }
        };
        Controller::new("pv-binder", &volumes)
            .watches(&claims, move |claim: &PersistentVolumeClaim| {
                let named = facts::volume_name(claim).map(ObjectKey::cluster);
                let naming = of_claim.by_index(BY_CLAIM, &claim.key().to_string());
                named.into_iter().chain(naming.iter().map(|volume| volume.key())).collect()
            })
            .workers(1)
            .run(reconcile, context.stop.clone())
    };
    tokio::join!(bind_claims, keep_volumes);
}

/// What others did meanwhile brings the key back, and is no error.
fn settled(done: Result<Action, Error>) -> Result<Action, Error> {
    match done {
        Err(Error::Conflict(_)) => Ok(AGAIN),
        Err(Error::NotFound(_)) => Ok(Action::Done),
        other => other,
    }
}

struct Binder {
    claims: Latest<PersistentVolumeClaim>,
    volumes: Latest<PersistentVolume>,
    classes: Store<StorageClass>,
    pods: Store<Pod>,
    client: Client,
    events: Recorder,
}

impl Binder {
    async fn claim(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(Action::Done) };
        let class = self.classes.get(&ObjectKey::cluster(facts::class_of_claim(&claim)));
        let waiting = self.pods.by_index(WAITING, &key.to_string());
        let view = plan::View {
            claim: &claim,
            volumes: &self.volumes.list(),
            class: class.as_deref(),
            default_class: facts::default_class(&self.classes.list()),
            waiting: waiting.iter().map(|pod| pod.name().to_owned()).collect(),
        };
        let mut claim = Arc::clone(&claim);
        for step in plan::claim(&view) {
            claim = match step {
                ClaimStep::Class(name) => self.update_claim(changes::with_class(&claim, &name)).await?,
                ClaimStep::Provisioner(name) => match changes::with_provisioner(&claim, &name) {
                    Some(changed) => self.update_claim(changed).await?,
                    None => claim,
                },
                ClaimStep::Bind(volume) => self.bind(&claim, volume).await?,
                ClaimStep::Phase(phase) => self.claim_status(claim, phase, None).await?,
                ClaimStep::Tell(told) => {
                    self.tell(&*claim, told);
                    claim
                }
            };
        }
        Ok(if facts::is_bound(&claim) { Action::Done } else { Action::After(PERIOD) })
    }

    /// Writes a binding down: in the volume, in its status, in the claim, and in that one's status.
    async fn bind(
        &self,
        claim: &Arc<PersistentVolumeClaim>,
        volume: Arc<PersistentVolume>,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let volume = match changes::volume_for_claim(&volume, claim) {
            Some(changed) => self.update_volume(changed).await?,
            None => volume,
        };
        let volume = self.volume_phase(volume, "Bound", "").await?;
        let claim = match changes::claim_for_volume(claim, &volume) {
            Some(changed) => self.update_claim(changed).await?,
            None => Arc::clone(claim),
        };
        self.claim_status(claim, "Bound", Some(&volume)).await
    }

    async fn volume(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(mut volume) = self.volumes.get(key) else { return Ok(Action::Done) };
        let claim = self.claim_of(&volume).await?;
        for step in plan::volume(&volume, claim.as_deref()) {
            volume = match step {
                VolumeStep::Phase(phase, message) => self.volume_phase(volume, phase, &message).await?,
                VolumeStep::Unbind => self.update_volume(changes::unbound(&volume)).await?,
                VolumeStep::Tell(told) => {
                    self.tell(&*volume, told);
                    volume
                }
                VolumeStep::TellClaim(told) => {
                    if let Some(claim) = &claim {
                        self.tell(&**claim, told);
                    }
                    volume
                }
            };
        }
        Ok(Action::Done)
    }

    /// The claim that a volume names. That it is gone is asked of the API, since data goes with it.
    async fn claim_of(&self, volume: &PersistentVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, Error> {
        let Some(key) = facts::claim_key(volume) else { return Ok(None) };
        let uid = facts::claim_uid(volume);
        let same = |claim: &PersistentVolumeClaim| uid.is_none_or(|uid| claim.uid() == uid);
        if let Some(claim) = self.claims.get(&key).filter(|claim| same(claim)) {
            return Ok(Some(claim));
        }
        if uid.is_none() {
            return Ok(None);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(&self.client, &key.namespace);
        Ok(api.find(&key.name).await?.filter(|claim| same(claim)).map(Arc::new))
    }

    async fn update_claim(
        &self,
        changed: PersistentVolumeClaim,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let namespace = changed.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(&self.client, namespace);
        Ok(self.claims.wrote(api.update(&changed).await?))
    }

    async fn claim_status(
        &self,
        claim: Arc<PersistentVolumeClaim>,
        phase: &'static str,
        volume: Option<&PersistentVolume>,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let Some(changed) = changes::claim_status(&claim, phase, volume) else { return Ok(claim) };
        let namespace = changed.namespace().unwrap_or_default();
        let api: Api<PersistentVolumeClaim> = Api::namespaced(&self.client, namespace);
        Ok(self.claims.wrote(api.update_status(&changed).await?))
    }

    async fn update_volume(&self, changed: PersistentVolume) -> Result<Arc<PersistentVolume>, Error> {
        let api: Api<PersistentVolume> = Api::all(&self.client);
        Ok(self.volumes.wrote(api.update(&changed).await?))
    }

    async fn volume_phase(
        &self,
        volume: Arc<PersistentVolume>,
        phase: &'static str,
        message: &str,
    ) -> Result<Arc<PersistentVolume>, Error> {
        let Some(changed) = changes::volume_phase(&volume, phase, message) else { return Ok(volume) };
        let api: Api<PersistentVolume> = Api::all(&self.client);
        Ok(self.volumes.wrote(api.update_status(&changed).await?))
    }

    fn tell(&self, object: &impl Resource, told: Told) {
        let kind = if told.is_warning { EventType::Warning } else { EventType::Normal };
        self.events.event(object, kind, told.reason, told.message);
    }
}

/// A copy of a kind's objects that shows what was written here at once. Without it a claim could be given another
/// volume while the copy still shows the one that it has as nobody's.
struct Latest<K> {
    store: Store<K>,
    own: Mutex<HashMap<ObjectKey, Arc<K>>>,
}

impl<K: Typed> Latest<K> {
    fn new(store: Store<K>) -> Self {
        Self { store, own: Mutex::default() }
    }

    fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let found = self.store.get(key);
        self.newer(key, found)
    }

    fn list(&self) -> Vec<Arc<K>> {
        let all = self.store.list().into_iter();
        all.filter_map(|found| self.newer(&found.key(), Some(found))).collect()
    }

    fn wrote(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        self.own.lock().insert(object.key(), Arc::clone(&object));
        object
    }

    /// What is newer: what the copy shows, or what was written. What the copy does not show has gone since.
    fn newer(&self, key: &ObjectKey, found: Option<Arc<K>>) -> Option<Arc<K>> {
        let mut own = self.own.lock();
        let written = own.get(key).filter(|written| {
            let shown = found.as_ref();
            shown.is_some_and(|shown| shown.uid() == written.uid() && shown.revision() < written.revision())
        });
        match written {
            Some(written) => Some(Arc::clone(written)),
            None => {
                own.remove(key);
                found
            }
        }
    }
}

//! Claims stay as long as a pod uses them, volumes as long as a claim has them, and groups as long as pods of them have
//! not ended: what is being deleted is let go of when it is in use no more. Admission puts the finalizers on.

use std::time::Duration;

use client::{Action, Api, Controller, Error, ListOptions, ObjectKey, Resource, Store, Typed};
use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::scheduling::v1alpha2::PodGroup;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{Context, pods};

const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
const OF_VOLUMES: &str = "kubernetes.io/pv-protection";
const OF_GROUPS: &str = "scheduling.k8s.io/podgroup-protection";
/// The index of pods by the claims that they keep.
const BY_CLAIM: &str = "keeps-claim";
/// The index of pods by the group that they keep.
const BY_GROUP: &str = "keeps-group";

/// Runs the controller of claims.
pub(crate) async fn claims(context: Context) {
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let all_pods = context.informers.of::<Pod>();
    let of_pod = |pod: &Pod| -> Vec<ObjectKey> {
        let namespace = pod.namespace().unwrap_or_default();
        used_by(pod).into_iter().map(|claim| ObjectKey::new(namespace, claim)).collect()
    };
    all_pods.index(BY_CLAIM, |pod| {
        let namespace = pod.namespace().unwrap_or_default();
        let kept = if keeps_claims(pod) { used_by(pod) } else { Vec::new() };
        kept.into_iter().map(|claim| ObjectKey::new(namespace, claim).to_string()).collect()
    });
    let (store, pods, client) = (claims.store(), all_pods.store(), context.client.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, pods, client) = (store.clone(), pods.clone(), client.clone());
        async move { claim(&store, &pods, &client, &key).await }
    };
    let controller = Controller::new("pvc-protection", &claims).watches(&all_pods, of_pod);
    controller.run(reconcile, context.stop).await;
}

/// Runs the controller of volumes.
pub(crate) async fn volumes(context: Context) {
    let volumes = context.informers.of::<PersistentVolume>();
    let (store, client) = (volumes.store(), context.client.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, client) = (store.clone(), client.clone());
        async move {
            let Some(volume) = store.get(&key) else { return Ok(Action::Done) };
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            let api: Api<PersistentVolume> = Api::all(&client);
            protect(&api, &*volume, OF_VOLUMES, phase == Some("Bound")).await
        }
    };
    Controller::new("pv-protection", &volumes).run(reconcile, context.stop).await;
}

/// Runs the controller of groups of pods.
pub(crate) async fn pod_groups(context: Context) {
    let groups = context.informers.of::<PodGroup>();
    let all_pods = context.informers.of::<Pod>();
    let named = |pod: &Pod| -> Option<ObjectKey> {
        let group = pod.spec.as_ref()?.scheduling_group.as_ref()?.pod_group_name.as_deref()?;
        Some(ObjectKey::new(pod.namespace().unwrap_or_default(), group))
    };
    let keeps = move |pod: &Pod| named(pod).filter(|_| !pods::is_terminal(pod));
    all_pods.index(BY_GROUP, move |pod| keeps(pod).iter().map(ToString::to_string).collect());
    let (store, pods, client) = (groups.store(), all_pods.store(), context.client.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, pods, client) = (store.clone(), pods.clone(), client.clone());
        async move {
            let Some(group) = store.get(&key) else { return Ok(Action::Done) };
            let mut in_use = pods.has_in_index(BY_GROUP, &key.to_string());
            if !in_use && lets_go(&*group, OF_GROUPS) {
                // A pod that the copy does not show yet may have come to it, and will bring us back when it ends.
                let pods: Api<Pod> = Api::namespaced(&client, &key.namespace);
                let pods = pods.list_all(&ListOptions::default()).await?.items;
                in_use = pods.iter().any(|pod| keeps(pod).as_ref() == Some(&key));
            }
            let api: Api<PodGroup> = Api::namespaced(&client, &key.namespace);
            protect(&api, &*group, OF_GROUPS, in_use).await
        }
    };
    let of_pod = move |pod: &Pod| -> Vec<ObjectKey> { named(pod).into_iter().collect() };
    let controller = Controller::new("podgroup-protection", &groups).watches(&all_pods, of_pod);
    controller.run(reconcile, context.stop).await;
}

async fn claim(
    store: &Store<PersistentVolumeClaim>,
    pods: &Store<Pod>,
    client: &client::Client,
    key: &ObjectKey,
) -> Result<Action, Error> {
    let Some(claim) = store.get(key) else { return Ok(Action::Done) };
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client, &key.namespace);
    let in_use = pods.has_in_index(BY_CLAIM, &key.to_string());
    if !in_use && lets_go(&*claim, OF_CLAIMS) {
        // It is let go of: a pod that the copy does not show yet may have begun to use it.
        let pods: Api<Pod> = Api::namespaced(client, &key.namespace);
        let pods = pods.list_all(&ListOptions::default()).await?.items;
        if pods.iter().any(|pod| keeps_claims(pod) && used_by(pod).contains(&key.name)) {
            // The copy will show it, and bring us back when it goes.
            return Ok(Action::Done);
        }
    }
    protect(&api, &*claim, OF_CLAIMS, in_use).await
}

/// Whether a pod keeps its claims: one that nobody has taken does not, nor one that has ended.
fn keeps_claims(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    node.is_some_and(|name| !name.is_empty()) && !pods::is_terminal(pod)
}

/// The claims that a pod names, and those that are made for it.
pub(crate) fn used_by(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(format!("{}-{}", pod.name(), volume.name)),
        (None, None) => None,
    });
    claims.collect()
}

/// Whether an object that nobody uses is to be let go of.
fn lets_go<K: Metadata<Ty = ObjectMeta>>(object: &K, finalizer: &str) -> bool {
    let metadata = object.metadata();
    metadata.deletion_timestamp.is_some()
        && metadata.finalizers.iter().flatten().any(|known| known == finalizer)
}

/// Puts the finalizer on what is there to stay, and takes it from what goes and is not in use.
async fn protect<K>(api: &Api<K>, object: &K, finalizer: &str, in_use: bool) -> Result<Action, Error>
where
    K: Typed + Metadata<Ty = ObjectMeta>,
{
    let metadata = object.metadata();
    let mut finalizers = metadata.finalizers.clone().unwrap_or_default();
    let is_held = finalizers.iter().any(|known| known == finalizer);
    let is_going = metadata.deletion_timestamp.is_some();
    match (is_going, is_held) {
        (true, true) if !in_use => finalizers.retain(|known| known != finalizer),
        (false, false) => finalizers.push(finalizer.to_owned()),
        _ => return Ok(Action::Done),
    }
    // On condition that it is what it was: others have finalizers too.
    let mut changed = object.clone();
    changed.metadata_mut().finalizers = Some(finalizers);
    match api.update(&changed).await {
        Ok(_) | Err(Error::NotFound(_)) => Ok(Action::Done),
        Err(Error::Conflict(_)) => Ok(Action::After(Duration::from_millis(20))),
        Err(error) => Err(error),
    }
}

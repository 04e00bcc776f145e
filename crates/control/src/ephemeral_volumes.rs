//! Volumes that live as long as a pod: a claim for each, made from the pod's own template and owned by the pod.

use client::recorder::{EventType, Recorder};
use client::{Action, Api, Client, Controller, Error, ObjectKey, Resource as _, Store};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{Context, ownership, pods};

/// Runs the controller.
pub(crate) async fn run(context: Context, events: Recorder) {
    let all_pods = context.informers.of::<Pod>();
    let claims = context.informers.of::<PersistentVolumeClaim>();
    let (store, known, client) = (all_pods.store(), claims.store(), context.client.clone());
    let reconcile = move |key: ObjectKey| {
        let (store, known, client, events) = (store.clone(), known.clone(), client.clone(), events.clone());
        async move {
            let Some(pod) = store.get(&key) else { return Ok(Action::Done) };
            if pod.is_being_deleted() || pods::is_terminal(&pod) {
                return Ok(Action::Done);
            }
            for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
                let Some(claim) = claim_for(&pod, volume) else { continue };
                match ensure(&known, &client, &pod, &claim).await {
                    Ok(()) => {}
                    Err(Failed::Api(Error::Forbidden(status))) if status.is_namespace_terminating() => {
                        return Ok(Action::Done);
                    }
                    Err(failed) => {
                        let why = base::error::chain(&failed);
                        let message = format!("ephemeral volume {}: {why}", volume.name);
                        events.event(&*pod, EventType::Warning, "FailedBinding", message);
                        return Err(failed);
                    }
                }
            }
            Ok(Action::Done)
        }
    };
    let has_one = |pod: &Pod| {
        let mut volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        volumes.any(|volume| volume.ephemeral.is_some())
    };
    Controller::of_some("ephemeral-volume", &all_pods, has_one)
        .watches(&claims, |claim: &PersistentVolumeClaim| {
            // One that is gone is made anew.
            let owner = claim.controller().filter(|owner| owner.kind == "Pod");
            let namespace = claim.namespace().unwrap_or_default();
            owner.map(|owner| ObjectKey::new(namespace, owner.name)).into_iter().collect()
        })
        .run(reconcile, context.stop)
        .await;
}

/// Why a pod has no claim of its own.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("PVC {claim} was not created for pod {pod} (pod is not owner)")]
    NotOwner { claim: ObjectKey, pod: ObjectKey },
    #[error("create PVC {claim}")]
    Create { claim: ObjectKey, source: Error },
    #[error(transparent)]
    Api(#[from] Error),
}

/// The claim of a volume that is one of a pod's own.
fn claim_for(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.as_ref()?;
    let metadata = template.metadata.clone().unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(format!("{}-{}", pod.name(), volume.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            owner_references: ownership::owned_by(pod),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec.clone()),
        status: None,
    })
}

/// Makes the claim, unless it is there and the pod's.
async fn ensure(
    known: &Store<PersistentVolumeClaim>,
    client: &Client,
    pod: &Pod,
    claim: &PersistentVolumeClaim,
) -> Result<(), Failed> {
    let is_owned =
        |found: &PersistentVolumeClaim| found.controller().is_some_and(|owner| owner.uid == pod.uid());
    let not_owner = || Failed::NotOwner { claim: claim.key(), pod: pod.key() };
    if let Some(found) = known.get(&claim.key()) {
        return if is_owned(&found) { Ok(()) } else { Err(not_owner()) };
    }
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client, pod.namespace().unwrap_or_default());
    match api.create(claim).await {
        Ok(_) => Ok(()),
        // The copy does not show it yet.
        Err(Error::AlreadyExists(_)) => match api.find(claim.name()).await? {
            Some(found) if !is_owned(&found) => Err(not_owner()),
            _ => Ok(()),
        },
        Err(error @ Error::Forbidden(_)) => Err(Failed::Api(error)),
        Err(source) => Err(Failed::Create { claim: claim.key(), source }),
    }
}

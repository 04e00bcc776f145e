//! How controllers make pods: from a template, as their owner's own, with what happened told to whoever looks at the
//! owner.

use client::recorder::{EventType, Recorder};
use client::{Api, Error, Resource};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::ownership;

/// A pod of `owner` and of this template; the server gives it a name after its owner's.
pub(crate) fn pod(owner: &impl Resource, template: PodTemplateSpec) -> Pod {
    let metadata = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name())),
            namespace: owner.namespace().map(str::to_owned),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: ownership::owned_by(owner),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Makes a pod of `owner`, and tells of it. Gives nothing where the namespace is going away, and the owner with it.
pub(crate) async fn create(
    api: &Api<Pod>,
    recorder: &Recorder,
    owner: &impl Resource,
    pod: &Pod,
) -> Result<Option<Pod>, Error> {
    match api.create(pod).await {
        Ok(pod) => {
            let message = format!("Created pod: {}", pod.name());
            recorder.event(owner, EventType::Normal, "SuccessfulCreate", message);
            Ok(Some(pod))
        }
        Err(Error::Forbidden(status)) if status.is_namespace_terminating() => Ok(None),
        Err(error) => {
            let message = format!("Error creating: {error}");
            recorder.event(owner, EventType::Warning, "FailedCreate", message);
            Err(error)
        }
    }
}

//! The pod of an ordinal: its name, its labels, its volumes.

use client::Resource as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, Pod, Volume};

use super::claims;
use super::version::{Version, ordinal};
use crate::{history, making};

/// The label that has a pod's name, for Services of one pod.
const NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label that has a pod's ordinal.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of the pod of an ordinal.
pub(super) fn name(set: &StatefulSet, ordinal: i64) -> String {
    format!("{}-{ordinal}", set.name())
}

/// The pod of an ordinal, of this template.
pub(super) fn make(set: &StatefulSet, version: &Version, ordinal: i64) -> Pod {
    let name = name(set, ordinal);
    let mut pod = making::pod(set, version.template.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(history::REVISION.to_owned(), version.name.clone());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone());
    pod.metadata.name = Some(name);
    give_identity(set, &mut pod);
    give_storage(set, &mut pod);
    pod
}

/// Whether a pod has the labels of its place.
pub(super) fn has_identity(pod: &Pod) -> bool {
    pod.label(NAME) == Some(pod.name())
}

/// Gives a pod the labels of its place.
pub(super) fn give_identity(set: &StatefulSet, pod: &mut Pod) {
    let name = pod.name().to_owned();
    let index = ordinal(set.name(), &name);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.extend(index.map(|index| (INDEX.to_owned(), index.to_string())));
    labels.insert(NAME.to_owned(), name);
}

/// Whether a pod has the volumes of the set's claims.
pub(super) fn has_storage(set: &StatefulSet, pod: &Pod) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    claims::names(set, pod.name()).all(|(template, claim)| {
        let volume = volumes.iter().find(|volume| volume.name == template);
        let source = volume.and_then(|volume| volume.persistent_volume_claim.as_ref());
        source.is_some_and(|source| source.claim_name == claim)
    })
}

/// Gives a pod the volumes of the set's claims, in place of its own of these names.
pub(super) fn give_storage(set: &StatefulSet, pod: &mut Pod) {
    let claimed = claims::names(set, pod.name()).map(|(template, claim)| Volume {
        name: template.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim,
            read_only: None,
        }),
        ..Volume::default()
    });
    let claimed: Vec<Volume> = claimed.collect();
    let spec = pod.spec.get_or_insert_default();
    let own = spec.volumes.take().unwrap_or_default();
    let own = own.into_iter().filter(|volume| claimed.iter().all(|claimed| claimed.name != volume.name));
    let volumes: Vec<Volume> = claimed.iter().cloned().chain(own).collect();
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
}

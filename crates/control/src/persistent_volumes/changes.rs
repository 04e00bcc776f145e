//! What is written into claims and volumes; nothing where it stands there already.

use client::Resource as _;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::facts::{self, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER};

const YES: &str = "yes";

fn annotate(metadata: &mut ObjectMeta, name: &str, value: &str) {
    metadata.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}

/// The claim with the class that it is given.
pub(super) fn with_class(claim: &PersistentVolumeClaim, class: &str) -> PersistentVolumeClaim {
    let mut changed = claim.clone();
    changed.spec.get_or_insert_default().storage_class_name = Some(class.to_owned());
    changed
}

/// The claim that says who is to make a volume for it.
pub(super) fn with_provisioner(claim: &PersistentVolumeClaim, name: &str) -> Option<PersistentVolumeClaim> {
    if PROVISIONER.iter().all(|key| facts::annotation(&claim.metadata, key) == Some(name)) {
        return None;
    }
    let mut changed = claim.clone();
    PROVISIONER.iter().for_each(|key| annotate(&mut changed.metadata, key, name));
    Some(changed)
}

/// The volume that is a claim's.
pub(super) fn volume_for_claim(
    volume: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolume> {
    let is_for_it = facts::is_bound_to(volume, claim);
    if is_for_it && facts::claim_uid(volume) == Some(claim.uid()) {
        return None;
    }
    let mut changed = volume.clone();
    let version = Some(claim.resource_version()).filter(|version| !version.is_empty());
    changed.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: claim.metadata.namespace.clone(),
        name: claim.metadata.name.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: version.map(str::to_owned),
        field_path: None,
    });
    // Whoever made it for the claim has chosen that, and it stays so when it is let go of.
    if !is_for_it && facts::annotation(&changed.metadata, BOUND_BY_CONTROLLER).is_none() {
        annotate(&mut changed.metadata, BOUND_BY_CONTROLLER, YES);
    }
    Some(changed)
}

/// The claim that has a volume.
pub(super) fn claim_for_volume(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let is_named = facts::volume_name(claim) == Some(volume.name());
    let is_completed = facts::annotation(&claim.metadata, BIND_COMPLETED).is_some();
    if is_named && is_completed {
        return None;
    }
    let mut changed = claim.clone();
    if !is_named {
        changed.spec.get_or_insert_default().volume_name = Some(volume.name().to_owned());
        if facts::annotation(&changed.metadata, BOUND_BY_CONTROLLER).is_none() {
            annotate(&mut changed.metadata, BOUND_BY_CONTROLLER, YES);
        }
    }
    if !is_completed {
        annotate(&mut changed.metadata, BIND_COMPLETED, YES);
    }
    Some(changed)
}

/// The claim in a phase, with what its volume gives; with nothing where it has none.
pub(super) fn claim_status(
    claim: &PersistentVolumeClaim,
    phase: &str,
    volume: Option<&PersistentVolume>,
) -> Option<PersistentVolumeClaim> {
    let mut changed = claim.clone();
    let status = changed.status.get_or_insert_default();
    let becomes = status.phase.as_deref() != Some(phase);
    status.phase = Some(phase.to_owned());
    match volume.and_then(|volume| volume.spec.as_ref()) {
        None => (status.access_modes, status.capacity) = (None, None),
        Some(spec) => {
            status.access_modes.clone_from(&spec.access_modes);
            // What it has later is said by whoever makes it larger.
            if becomes && phase == "Bound" {
                status.capacity.clone_from(&spec.capacity);
                let attributes = spec.volume_attributes_class_name.clone();
                status.current_volume_attributes_class_name = attributes.filter(|name| !name.is_empty());
            }
        }
    }
    (changed != *claim).then_some(changed)
}

/// The volume in a phase.
pub(super) fn volume_phase(
    volume: &PersistentVolume,
    phase: &str,
    message: &str,
) -> Option<PersistentVolume> {
    if volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
        return None;
    }
    let mut changed = volume.clone();
    let status = changed.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.message = Some(message.to_owned()).filter(|message| !message.is_empty());
    Some(changed)
}

/// The volume that is no claim's any more; where whoever made it has chosen the claim, it is for that one still.
pub(super) fn unbound(volume: &PersistentVolume) -> PersistentVolume {
    let mut changed = volume.clone();
    let was_chosen = facts::annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some();
    let spec = changed.spec.get_or_insert_default();
    if was_chosen {
        spec.claim_ref = None;
        changed.metadata.annotations.get_or_insert_default().remove(BOUND_BY_CONTROLLER);
    } else if let Some(reference) = &mut spec.claim_ref {
        reference.uid = None;
    }
    changed
}

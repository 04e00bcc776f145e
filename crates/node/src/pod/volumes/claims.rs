//! Volumes that are claimed: which volume a claim has, and whether this pod may have it here.
//!
//! Reasons are the kubelet's.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};

use crate::pod::is_over;

/// A volume that a pod has by a claim.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The claim's name.
    pub claim: String,
    /// What it has.
    pub volume: PersistentVolume,
    /// The pod asked for it so.
    pub read_only: bool,
}

/// Why a pod's claims do not give it its volumes: all of them that do not.
#[derive(Debug, thiserror::Error)]
#[error(
    "Unable to attach or mount volumes: unmounted volumes=[{0}], unattached volumes=[], failed to process volumes=[{0}]: {why}",
    volumes
)]
pub struct ClaimsError {
    volumes: String,
    why: String,
}

impl ClaimsError {
    pub(crate) fn new(failed: &[(String, String)]) -> Self {
        let names: Vec<&str> = failed.iter().map(|(name, _)| name.as_str()).collect();
        let why: Vec<&str> = failed.iter().map(|(_, why)| why.as_str()).collect();
        Self { volumes: names.join(" "), why: why.join(", ") }
    }
}

/// The claim that a volume of a pod is by, and whether it is for reading alone.
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool)> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some((claim.claim_name.clone(), claim.read_only.unwrap_or(false))),
        (None, Some(_)) => Some((format!("{}-{}", pod.name(), volume.name), false)),
        (None, None) => None,
    }
}

/// Which of a pod's volumes are devices for its containers, and which are file systems: by their names.
fn used_as(pod: &Pod, volume: &str) -> (bool, bool) {
    let spec = pod.spec.iter();
    let containers =
        spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    let (mut mounted, mut device) = (false, false);
    for container in containers {
        mounted |= container.volume_mounts.iter().flatten().any(|mount| mount.name == volume);
        device |= container.volume_devices.iter().flatten().any(|device| device.name == volume);
    }
    (mounted, device)
}

/// The volume of a claim, if it is the pod's; `begins` says that nothing of the pod was started yet.
pub fn volume_of(
    pod: &Pod,
    volume: &Volume,
    claim: Option<&PersistentVolumeClaim>,
    begins: bool,
) -> Result<String, String> {
    let namespace = pod.namespace().unwrap_or_default();
    let (name, _) = claim_of(pod, volume).unwrap_or_default();
    let failed = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
    let Some(claim) = claim else {
        let why = format!("failed to fetch PVC from API server: persistentvolumeclaims \"{name}\" not found");
        return Err(failed(why));
    };
    let is_owned = claim.controller().is_some_and(|owner| owner.uid == pod.uid());
    if volume.ephemeral.is_some() && !is_owned {
        let pod = pod.key();
        return Err(format!("PVC {namespace}/{name} was not created for pod {pod} (pod is not owner)"));
    }
    if begins && claim.is_being_deleted() {
        return Err(failed("PVC is being deleted".to_owned()));
    }
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Bound") {
        return Err(failed("PVC is not bound".to_owned()));
    }
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    named
        .filter(|name| !name.is_empty())
        .ok_or_else(|| failed("PVC has empty pvc.Spec.VolumeName".to_owned()))
}

/// Whether a volume is the claim's, and can be used on this node by this pod as it says.
pub fn check(
    pod: &Pod,
    volume: &Volume,
    claim: &PersistentVolumeClaim,
    found: Option<&PersistentVolume>,
    node: (&str, &BTreeMap<String, String>),
    others: &[Arc<Pod>],
) -> Result<(), String> {
    let namespace = claim.namespace().unwrap_or_default();
    let failed = |why: String| format!("error processing PVC {namespace}/{}: {why}", claim.name());
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    let Some(found) = found else {
        return Err(failed(format!(
            "failed to fetch PV {named} from API server: persistentvolumes \"{named}\" not found"
        )));
    };
    let reference = found.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    match reference.map(|reference| reference.uid.as_deref().unwrap_or_default()) {
        None => {
            return Err(failed(format!(
                "found PV object {named} with nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
            )));
        }
        Some(uid) if uid != claim.uid() => {
            return Err(failed(format!(
                "found PV object {named} with a pv.Spec.ClaimRef.UID {uid} that does not point to claim.UID {}",
                claim.uid()
            )));
        }
        Some(_) => {}
    }
    let spec = found.spec.clone().unwrap_or_default();
    let mode = spec.volume_mode.as_deref().unwrap_or("Filesystem");
    let (mounted, device) = used_as(pod, &volume.name);
    if mode == "Block" && mounted {
        return Err(format!("volume {} has volumeMode Block, but is specified in volumeMounts", volume.name));
    }
    if mode == "Filesystem" && device {
        return Err(format!(
            "volume {} has volumeMode Filesystem, but is specified in volumeDevices",
            volume.name
        ));
    }
    let terms = spec.node_affinity.and_then(|affinity| affinity.required);
    let (name, labels) = node;
    if terms.is_some_and(|terms| !terms.node_selector_terms.iter().any(|term| is_met(term, name, labels))) {
        return Err(format!(
            "MountVolume.NodeAffinity check failed for volume \"{named}\" : no matching NodeSelectorTerms"
        ));
    }
    let once = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    if once.into_iter().any(|mode| mode == "ReadWriteOncePod")
        && others.iter().any(|other| {
            other.uid() != pod.uid()
                && other.namespace() == pod.namespace()
                && !is_over(other)
                && other
                    .spec
                    .iter()
                    .flat_map(|spec| spec.volumes.iter().flatten())
                    .any(|volume| claim_of(other, volume).is_some_and(|(name, _)| name == claim.name()))
                && is_before(other, pod)
        })
    {
        return Err(format!(
            "MountVolume.SetUp failed for volume \"{named}\" : volume uses the ReadWriteOncePod access mode and is already \
             in use by another pod"
        ));
    }
    Ok(())
}

/// Whether the first of two pods was there before the other: it has what only one can have.
fn is_before(one: &Pod, other: &Pod) -> bool {
    let began = |pod: &Pod| {
        let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
        // One that has not begun is after all that have.
        (started.is_none(), started, pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
    };
    (began(one), one.uid()) < (began(other), other.uid())
}

/// Whether a node is one that a term selects. A term without anything selects none.
fn is_met(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let is_field_met =
        |field: &NodeSelectorRequirement| field.key == "metadata.name" && holds(field, Some(name));
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(is_field_met)
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_among = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let bound = number(values.first().map(String::as_str));
    match requirement.operator.as_str() {
        "In" => is_among(),
        "NotIn" => !is_among(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number(value).zip(bound).is_some_and(|(value, bound)| value > bound),
        "Lt" => number(value).zip(bound).is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

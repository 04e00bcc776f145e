//! What claims and volumes say, asked in one place.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::ObjectKey;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The binding of a claim was completed once.
pub(super) const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// The binding was chosen here, and not by whoever made the object.
pub(super) const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Who made a volume.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Who is to make a volume for a claim, now and formerly.
pub(super) const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// The node whose pod uses the claim first.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// By which the class was named before there was a field.
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// Marks the class of claims that name none, now and formerly.
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const STORAGE: &str = "storage";

pub(super) fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class of a claim; nothing where it wants none.
pub(super) fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, OLD_CLASS).or(named).unwrap_or_default()
}

/// Whether a claim says anything of classes, be it that it wants none.
pub(super) fn says_class(claim: &PersistentVolumeClaim) -> bool {
    let named = claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some());
    named || annotation(&claim.metadata, OLD_CLASS).is_some()
}

pub(super) fn class_of_volume(volume: &PersistentVolume) -> &str {
    let named = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, OLD_CLASS).or(named).unwrap_or_default()
}

/// The volume that a claim names.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The claim that a volume names.
pub(super) fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.clone().unwrap_or_default(), reference.name.clone()?))
}

/// Which claim of that name; none where whoever made the volume left that open.
pub(super) fn claim_uid(volume: &PersistentVolume) -> Option<&str> {
    volume.spec.as_ref()?.claim_ref.as_ref()?.uid.as_deref().filter(|uid| !uid.is_empty())
}

/// Whether a volume is this claim's, or for it.
pub(super) fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    use client::Resource as _;
    claim_key(volume).is_some_and(|key| key == claim.key())
        && claim_uid(volume).is_none_or(|uid| uid == claim.uid())
}

/// Whether nothing is left to be done for a claim.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Bound" | "Lost"))
}

fn amount(amounts: Option<&BTreeMap<String, Quantity>>) -> i64 {
    let amount = amounts.and_then(|amounts| amounts.get(STORAGE));
    amount.and_then(|amount| amount.0.parse::<model::Quantity>().ok()).map_or(0, |amount| amount.value())
}

/// Bytes of a volume.
pub(super) fn capacity(volume: &PersistentVolume) -> i64 {
    amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

/// Bytes that a claim asks for.
pub(super) fn request(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    amount(resources.and_then(|resources| resources.requests.as_ref()))
}

/// Bytes that a claim has.
pub(super) fn has(claim: &PersistentVolumeClaim) -> i64 {
    amount(claim.status.as_ref().and_then(|status| status.capacity.as_ref()))
}

fn mode(mode: Option<&String>) -> &str {
    mode.map_or("Filesystem", String::as_str)
}

pub(super) fn is_of_same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = mode(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()));
    of_volume == mode(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

/// Whether both want the same attributes; none is as good as an empty name.
pub(super) fn has_same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    of_volume.unwrap_or_default() == of_claim.unwrap_or_default()
}

pub(super) fn modes_of_volume(volume: &PersistentVolume) -> Vec<&str> {
    let mut modes: Vec<&str> =
        volume.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten()).map(String::as_str).collect();
    modes.sort_unstable();
    modes.dedup();
    modes
}

/// Whether a volume can be used in all ways that a claim asks for.
pub(super) fn has_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let modes = modes_of_volume(volume);
    let mut wanted = claim.spec.iter().flat_map(|spec| spec.access_modes.iter().flatten());
    wanted.all(|wanted| modes.contains(&wanted.as_str()))
}

/// Whether a volume is chosen only when it is known where.
pub(super) fn waits_for_consumer(class: Option<&StorageClass>) -> bool {
    class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"))
}

/// The name of the default class; of several the one that was made last, and of those of one moment the first by
/// name.
pub(super) fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let is_default = |class: &&Arc<StorageClass>| {
        DEFAULT_CLASS.iter().any(|name| annotation(&class.metadata, name) == Some("true"))
    };
    let newest = classes.iter().filter(is_default).max_by(|a, b| {
        let made = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
        made(a).cmp(&made(b)).then_with(|| b.metadata.name.cmp(&a.metadata.name))
    });
    newest.and_then(|class| class.metadata.name.clone())
}

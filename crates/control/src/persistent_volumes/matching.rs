//! Which of the volumes that are there a claim gets.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};

use super::facts;

/// The volume for a claim: one that is for it already, or the smallest that serves; of those that can be used in the
/// fewest ways. `delayed` says that others choose among those that are nobody's, since it matters where the pod
/// runs.
pub(super) fn best(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    delayed: bool,
) -> Option<Arc<PersistentVolume>> {
    let mut by_modes: BTreeMap<(usize, Vec<&str>), Vec<&Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes.iter().filter(|volume| facts::has_modes(volume, claim)) {
        let modes = facts::modes_of_volume(volume);
        by_modes.entry((modes.len(), modes)).or_default().push(volume);
    }
    by_modes.values().find_map(|volumes| best_of(claim, volumes, delayed)).cloned()
}

fn best_of<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &[&'a Arc<PersistentVolume>],
    delayed: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let serves = |volume: &&&Arc<PersistentVolume>| {
        facts::claim_key(volume).is_none_or(|_| facts::is_bound_to(volume, claim))
            && facts::is_of_same_mode(volume, claim)
            && facts::has_same_attributes(volume, claim)
            && !volume.is_being_deleted()
            && facts::capacity(volume) >= facts::request(claim)
    };
    let serving: Vec<&&Arc<PersistentVolume>> = volumes.iter().filter(serves).collect();
    if let Some(own) = serving.iter().find(|volume| facts::is_bound_to(volume, claim)) {
        return Some(**own);
    }
    if delayed {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()).map(crate::selector);
    let is_free = |volume: &&&&Arc<PersistentVolume>| {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let is_selected = match &selector {
            None => true,
            Some(selector) => selector.as_ref().is_some_and(|selector| volume.is_selected(selector)),
        };
        phase == Some("Available")
            && is_selected
            && facts::class_of_volume(volume) == facts::class_of_claim(claim)
    };
    serving.iter().filter(is_free).min_by_key(|volume| facts::capacity(volume)).map(|volume| **volume)
}

//! Whether a volume is one that a claim wants, and whether a node can have it.

use std::collections::BTreeSet;

use client::Resource as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::CSIStorageCapacity;

use super::{Volumes, bytes, class_of, requested};
use crate::scheduler::node::NodeFacts;
use crate::scheduler::plugins::matches_any;

impl Volumes {
    /// The volume that a claim would get on a node: the one that is kept for it, or the smallest that does and
    /// is nobody's.
    pub(super) fn find<'a>(
        &'a self,
        claim: &PersistentVolumeClaim,
        node: &NodeFacts,
        chosen: &BTreeSet<&str>,
    ) -> Option<&'a PersistentVolume> {
        let names = self.by_class.get(class_of(claim))?.iter();
        let mut best: Option<(i64, &PersistentVolume)> = None;
        for volume in names.filter(|name| !chosen.contains(name.as_str())).map(|name| &*self.volumes[name]) {
            let kept = self.is_kept_for(volume, claim);
            if kept == Some(false) || !is_wanted(volume, claim) {
                continue;
            }
            let usable = is_usable_on(volume, node);
            if kept == Some(true) {
                return usable.then_some(volume);
            }
            let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
            if phase == Some("Available") && usable && is_selected(volume, claim) && has_modes(volume, claim)
            {
                let size = capacity(volume);
                if best.is_none_or(|(smallest, _)| size < smallest) {
                    best = Some((size, volume));
                }
            }
        }
        best.map(|(_, volume)| volume)
    }

    /// Whether a volume is this claim's; nothing if it is nobody's.
    fn is_kept_for(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<bool> {
        if let Some(given) = self.given.get(volume.name()) {
            return Some(*given == claim.key());
        }
        let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
        let uid = reference.uid.as_deref().filter(|uid| !uid.is_empty());
        Some(
            reference.name.as_deref() == Some(claim.name())
                && reference.namespace.as_deref().unwrap_or_default() == claim.key().namespace
                && uid.is_none_or(|uid| uid == claim.uid()),
        )
    }
}

/// Whether a node can use a volume.
pub(in crate::scheduler) fn is_usable_on(volume: &PersistentVolume, node: &NodeFacts) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|selector| matches_any(&selector.node_selector_terms, node))
}

/// Whether a volume is large enough, of the right sort, and there to stay.
fn is_wanted(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let (has, wants) = (volume.spec.as_ref(), claim.spec.as_ref());
    let mode = |mode: Option<&String>| mode.map_or("Filesystem", String::as_str).to_owned();
    let said = |name: Option<&String>| name.filter(|name| !name.is_empty()).cloned();
    capacity(volume) >= requested(claim)
        && mode(has.and_then(|spec| spec.volume_mode.as_ref()))
            == mode(wants.and_then(|spec| spec.volume_mode.as_ref()))
        && said(has.and_then(|spec| spec.volume_attributes_class_name.as_ref()))
            == said(wants.and_then(|spec| spec.volume_attributes_class_name.as_ref()))
        && volume.metadata.deletion_timestamp.is_none()
}

fn is_selected(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(selector) = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else { return true };
    let labels = volume.metadata.labels.as_ref();
    // One that cannot be read is not let in by the API.
    crate::selector(selector)
        .is_some_and(|selector| selector.match_values(|key| labels?.get(key).map(String::as_str)))
}

fn has_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let has = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wants = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wants.iter().all(|mode| has.contains(mode))
}

fn capacity(volume: &PersistentVolume) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    capacity.and_then(|capacity| capacity.get("storage")).map_or(0, |text| bytes(&text.0))
}

/// Whether a class allows volumes where a node is.
pub(super) fn allows(terms: &[TopologySelectorTerm], node: &NodeFacts) -> bool {
    let term = |term: &TopologySelectorTerm| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|wanted| node.labels.get(&wanted.key).is_some_and(|value| wanted.values.contains(value)))
    };
    terms.is_empty() || terms.iter().any(term)
}

/// Whether storage has so many bytes in one piece for a node.
pub(super) fn has_room(capacity: &CSIStorageCapacity, size: i64, node: &NodeFacts) -> bool {
    let most = capacity.maximum_volume_size.as_ref().or(capacity.capacity.as_ref());
    let is_near = || {
        let selector = capacity.node_topology.as_ref().and_then(crate::selector);
        selector.is_some_and(|selector| selector.match_values(|key| node.labels.get(key).map(String::as_str)))
    };
    most.is_some_and(|most| bytes(&most.0) >= size) && is_near()
}

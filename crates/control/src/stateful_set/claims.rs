//! The claims of pods, and who owns them: with what they are removed.

use client::Resource as _;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::version::{ordinal, ordinals};
use crate::ownership;

/// The names of a pod's claims, each with that of its template.
pub(super) fn names<'a>(set: &'a StatefulSet, pod: &'a str) -> impl Iterator<Item = (&'a str, String)> {
    templates(set).iter().map(move |template| (template.name(), format!("{}-{pod}", template.name())))
}

/// Whether this may be the name of a claim of a pod of the set.
pub(super) fn is_named(set: &StatefulSet, claim: &str) -> bool {
    let of = |template: &PersistentVolumeClaim| {
        let pod = claim.strip_prefix(template.name())?.strip_prefix('-')?;
        ordinal(set.name(), pod)
    };
    templates(set).iter().any(|template| of(template).is_some())
}

/// The claims of a pod, as they are made.
pub(super) fn make(set: &StatefulSet, pod: &str) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
    let one = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = Some(format!("{}-{pod}", template.name()));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let labels = selector.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
        claim.metadata.labels.get_or_insert_default().extend(labels);
        claim.status = None;
        claim
    };
    templates(set).iter().map(one).collect()
}

fn templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_deref()).unwrap_or_default()
}

/// When claims are removed that the set has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retention {
    /// With the set.
    with_set: bool,
    /// With a pod whose ordinal is no longer among those that are to be.
    pub(super) with_pod: bool,
}

impl Retention {
    pub(super) fn of(set: &StatefulSet) -> Self {
        let policy =
            set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
        let deletes = |what: Option<&String>| what.is_some_and(|what| what == "Delete");
        Self {
            with_set: deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            with_pod: deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        }
    }
}

/// A set and one of its pods, which may own a claim.
pub(super) struct Owners<'a> {
    set: &'a StatefulSet,
    pod: &'a Pod,
    retention: Retention,
    /// Whether the pod is one of those that are to go.
    is_condemned: bool,
}

/// What is wrong with the owners of a claim.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// Those that it is to have.
    pub(super) owners: Vec<OwnerReference>,
    /// Whether the claim is somebody else's, and is left alone from now on.
    pub(super) is_conflict: bool,
}

impl<'a> Owners<'a> {
    pub(super) fn new(set: &'a StatefulSet, pod: &'a Pod) -> Self {
        let index = ordinal(set.name(), pod.name()).map(i64::from);
        let is_condemned = index.is_none_or(|index| !ordinals(set).contains(&index));
        Self { set, pod, retention: Retention::of(set), is_condemned }
    }

    /// The owners that a claim is to have; none where it has them, or where they are not for the set to change.
    pub(super) fn change(&self, claim: &PersistentVolumeClaim) -> Option<Change> {
        let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
        // Of a set or pod of this name that is gone: so is the claim soon, or somebody meant it to stay.
        if owners.iter().any(|owner| self.is_predecessor(owner)) {
            return None;
        }
        let is_conflict = self.has_other_controller(owners);
        let is_own = |owner: &&OwnerReference| self.is_set(owner) || self.is_pod(owner);
        let is_right = if is_conflict {
            !owners.iter().any(|owner| is_own(&owner))
        } else {
            let (of_set, of_pod) = self.wanted();
            owners.iter().filter(is_own).all(|owner| owner.controller == Some(true))
                && owners.iter().any(|owner| self.is_set(owner)) == of_set
                && owners.iter().any(|owner| self.is_pod(owner)) == of_pod
        };
        if is_right {
            return None;
        }
        let mut changed: Vec<OwnerReference> =
            owners.iter().filter(|owner| !is_own(owner)).cloned().collect();
        if !is_conflict {
            let (of_set, of_pod) = self.wanted();
            changed.extend(ownership::owned_by(self.pod).filter(|_| of_pod).into_iter().flatten());
            changed.extend(ownership::owned_by(self.set).filter(|_| of_set).into_iter().flatten());
        }
        Some(Change { owners: changed, is_conflict })
    }

    /// Whether the set is to own it, and whether the pod is.
    fn wanted(&self) -> (bool, bool) {
        let of_pod = self.retention.with_pod && self.is_condemned;
        (self.retention.with_set && !of_pod, of_pod)
    }

    /// Somebody else manages the claim, where it would be for the set to do so.
    fn has_other_controller(&self, owners: &[OwnerReference]) -> bool {
        let others = |owner: &OwnerReference| {
            owner.controller == Some(true) && !self.is_set(owner) && !self.is_pod(owner)
        };
        (self.retention.with_set || self.retention.with_pod) && owners.iter().any(others)
    }

    fn is_set(&self, owner: &OwnerReference) -> bool {
        owner.uid == self.set.uid()
    }

    fn is_pod(&self, owner: &OwnerReference) -> bool {
        owner.uid == self.pod.uid()
    }

    fn is_predecessor(&self, owner: &OwnerReference) -> bool {
        (names_set(owner, self.set) && !self.is_set(owner))
            || (names_pod(owner, self.pod.name()) && !self.is_pod(owner))
    }
}

/// Whether a claim belongs to a pod of this name that is gone, and goes as well.
pub(super) fn is_stale(claim: &PersistentVolumeClaim, pod: &str) -> bool {
    claim.metadata.owner_references.iter().flatten().any(|owner| names_pod(owner, pod))
}

fn names_set(owner: &OwnerReference, set: &StatefulSet) -> bool {
    owner.api_version == "apps/v1" && owner.kind == "StatefulSet" && owner.name == set.name()
}

fn names_pod(owner: &OwnerReference, pod: &str) -> bool {
    owner.api_version == "v1" && owner.kind == "Pod" && owner.name == pod
}

#[cfg(test)]
mod tests;

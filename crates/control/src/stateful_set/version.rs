//! What of a StatefulSet a plan looks at: its spec without the gaps, its templates, its pods by their ordinals.

use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use crate::history;
use crate::pods::{Phase, PodOutline};
use crate::ready::Available;

/// A template that pods are made of, and the revision that keeps it.
#[derive(Clone, Debug)]
pub(super) struct Version {
    /// The revision's name, which pods have as a label.
    pub(super) name: String,
    pub(super) template: PodTemplateSpec,
}

impl Version {
    /// None where the revision keeps something else than a template.
    pub(super) fn of(revision: &ControllerRevision) -> Option<Self> {
        Some(Self { name: revision.name().to_owned(), template: history::template_of(revision)? })
    }
}

/// A pod of the set.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pod: Arc<Pod>,
    pub(super) outline: PodOutline,
    pub(super) ordinal: i32,
    /// Whether it runs and is ready.
    pub(super) is_ready: bool,
    /// Whether it has been that for long enough.
    pub(super) is_available: bool,
}

impl Member {
    /// None for a pod whose name is that of no pod of the set.
    pub(super) fn of(
        set: &StatefulSet,
        pod: Arc<Pod>,
        outline: PodOutline,
        available: &Available,
    ) -> Option<Self> {
        let ordinal = ordinal(set.name(), pod.name())?;
        let is_ready = outline.phase == Phase::Running && outline.is_ready;
        let is_available = is_ready && available.holds(&outline);
        Some(Self { pod, outline, ordinal, is_ready, is_available })
    }

    /// The name of the revision that it is of.
    pub(super) fn revision(&self) -> &str {
        self.pod.label(history::REVISION).unwrap_or_default()
    }

    /// Whether nobody can count on it: it is not available, or not for long.
    pub(super) fn is_unavailable(&self) -> bool {
        !self.is_available || self.outline.is_ending
    }
}

/// The ordinal in a pod's name, where it is a name that the set of this name gives.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let ordinal: i32 = digits.parse().ok()?;
    // One number has one name: `+1` and `01` are none.
    (ordinal >= 0 && ordinal.to_string() == digits).then_some(ordinal)
}

/// The ordinals that a set is to have: from the first to before the last.
pub(super) fn ordinals(set: &StatefulSet) -> std::ops::Range<i64> {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|spec| spec.ordinals.as_ref()).and_then(|ordinals| ordinals.start);
    let start = i64::from(start.unwrap_or(0).max(0));
    start..start + i64::from(replicas(set))
}

/// How many pods there are to be.
pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1).max(0)
}

/// Whether pods are made and ended without waiting for each other.
pub(super) fn is_parallel(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|spec| spec.pod_management_policy.as_deref()) == Some("Parallel")
}

/// How pods of an earlier template are replaced.
pub(super) fn strategy(set: &StatefulSet) -> Option<&StatefulSetUpdateStrategy> {
    set.spec.as_ref()?.update_strategy.as_ref()
}

/// Whether they are replaced by and by, which they are where nothing is said.
pub(super) fn rolls(set: &StatefulSet) -> bool {
    strategy(set).and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate") == "RollingUpdate"
}

/// How many of the first ordinals keep the earlier template.
pub(super) fn partition(set: &StatefulSet) -> Option<i32> {
    let rolling = strategy(set)?.rolling_update.as_ref()?;
    Some(rolling.partition.unwrap_or(0).max(0))
}

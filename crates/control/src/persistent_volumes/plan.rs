//! What is next for a claim and for a volume: pure.

use std::sync::Arc;

use client::Resource as _;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::facts::{self, BIND_COMPLETED, PROVISIONED_BY, SELECTED_NODE};
use super::matching;

/// What provisioners' names begin with that are a part of Kubernetes: none is here.
const IN_TREE: &str = "kubernetes.io/";

/// What is looked at for a claim.
pub(super) struct View<'a> {
    pub(super) claim: &'a PersistentVolumeClaim,
    /// All that there are.
    pub(super) volumes: &'a [Arc<PersistentVolume>],
    /// The class that the claim names, if there is one of that name.
    pub(super) class: Option<&'a StorageClass>,
    /// The name of the default one.
    pub(super) default_class: Option<String>,
    /// The pods that name the claim and have no node yet.
    pub(super) waiting: Vec<String>,
}

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) is_warning: bool,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Told {
    fn normal(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: false, reason, message: message.into() }
    }

    fn warning(reason: &'static str, message: impl Into<String>) -> Self {
        Self { is_warning: true, reason, message: message.into() }
    }
}

/// What is done for a claim, in order.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimStep {
    /// It names no class, and gets the default one.
    Class(String),
    /// It gets a volume.
    Bind(Arc<PersistentVolume>),
    /// Somebody else is to make a volume.
    Provisioner(String),
    /// It is in a phase in which it has no volume.
    Phase(&'static str),
    Tell(Told),
}

/// What is done for a volume, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    /// It is in a phase, with a message.
    Phase(&'static str, String),
    /// It is let go of.
    Unbind,
    Tell(Told),
    /// Of its claim.
    TellClaim(Told),
}

/// What is next for a claim.
pub(super) fn claim(view: &View<'_>) -> Vec<ClaimStep> {
    if facts::annotation(&view.claim.metadata, BIND_COMPLETED).is_some() {
        return bound(view);
    }
    match facts::volume_name(view.claim) {
        None => unbound(view),
        Some(name) => for_volume(view, name),
    }
}

/// A claim that takes any volume that serves.
fn unbound(view: &View<'_>) -> Vec<ClaimStep> {
    let claim = view.claim;
    let delayed = facts::waits_for_consumer(view.class);
    if let Some(volume) = matching::best(claim, view.volumes, delayed) {
        return vec![ClaimStep::Bind(volume)];
    }
    if let Some(default) = view.default_class.as_ref().filter(|_| !facts::says_class(claim)) {
        // Its change brings the claim back.
        return vec![ClaimStep::Class(default.clone())];
    }
    let is_selected = facts::annotation(&claim.metadata, SELECTED_NODE).is_some();
    let class = facts::class_of_claim(claim);
    let mut steps = if delayed && !is_selected {
        vec![ClaimStep::Tell(waits(&view.waiting))]
    } else if class.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        vec![ClaimStep::Tell(Told::normal("FailedBinding", message))]
    } else {
        provision(view, class)
    };
    steps.push(ClaimStep::Phase("Pending"));
    steps
}

fn waits(pods: &[String]) -> Told {
    match pods {
        [] => {
            let message = "waiting for first consumer to be created before binding";
            Told::normal("WaitForFirstConsumer", message)
        }
        [pod] => Told::normal("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => {
            let message = format!("waiting for pods {} to be scheduled", pods.join(","));
            Told::normal("WaitForPodScheduled", message)
        }
    }
}

fn provision(view: &View<'_>, class: &str) -> Vec<ClaimStep> {
    let failed = |message: String| vec![ClaimStep::Tell(Told::warning("ProvisioningFailed", message))];
    let Some(class) = view.class else {
        return failed(format!("storageclass.storage.k8s.io \"{class}\" not found"));
    };
    let name = &class.provisioner;
    if name.starts_with(IN_TREE) {
        return failed(format!("no volume plugin matched name: {name}"));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system \
         administrator. If volume creation is delayed, please verify that the provisioner is running and correctly \
         registered."
    );
    vec![ClaimStep::Provisioner(name.clone()), ClaimStep::Tell(Told::normal("ExternalProvisioning", message))]
}

/// A claim that wants one volume and no other.
fn for_volume(view: &View<'_>, name: &str) -> Vec<ClaimStep> {
    let claim = view.claim;
    let pending = ClaimStep::Phase("Pending");
    let Some(volume) = view.volumes.iter().find(|volume| volume.name() == name) else {
        return vec![pending];
    };
    if facts::is_bound_to(volume, claim) {
        return vec![ClaimStep::Bind(Arc::clone(volume))];
    }
    if facts::claim_key(volume).is_some() {
        let message = format!("volume \"{name}\" already bound to a different claim.");
        return vec![ClaimStep::Tell(Told::warning("FailedBinding", message)), pending];
    }
    match why_not(volume, claim) {
        None => vec![ClaimStep::Bind(Arc::clone(volume))],
        Some(why) => {
            let message = format!("Cannot bind to requested volume \"{name}\": {why}");
            vec![ClaimStep::Tell(Told::warning("VolumeMismatch", message)), pending]
        }
    }
}

/// Why a volume that a claim names does not serve it.
fn why_not(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    let checks = [
        (!volume.is_being_deleted(), format!("the volume is marked for deletion \"{}\"", volume.name())),
        (facts::capacity(volume) >= facts::request(claim), "requested PV is too small".to_owned()),
        (
            facts::class_of_volume(volume) == facts::class_of_claim(claim),
            "storageClassName does not match".to_owned(),
        ),
        (facts::has_same_attributes(volume, claim), "volumeAttributesClassName does not match".to_owned()),
        (facts::is_of_same_mode(volume, claim), "incompatible volumeMode".to_owned()),
        (facts::has_modes(volume, claim), "incompatible accessMode".to_owned()),
    ];
    checks.into_iter().find_map(|(holds, why)| (!holds).then_some(why))
}

/// A claim that had a volume once.
fn bound(view: &View<'_>) -> Vec<ClaimStep> {
    let lost = |reason: &'static str, message: &str| {
        let mut steps = vec![ClaimStep::Phase("Lost")];
        let phase = view.claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase != Some("Lost") {
            steps.push(ClaimStep::Tell(Told::warning(reason, message)));
        }
        steps
    };
    let Some(name) = facts::volume_name(view.claim) else {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", message);
    };
    match view.volumes.iter().find(|volume| volume.name() == name) {
        None => lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        Some(volume)
            if facts::claim_key(volume).is_none() || facts::claim_uid(volume) == Some(view.claim.uid()) =>
        {
            vec![ClaimStep::Bind(Arc::clone(volume))]
        }
        Some(_) => {
            lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
    }
}

/// What is next for a volume; `claim` is the one that it names, if there is that one.
pub(super) fn volume(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Vec<VolumeStep> {
    let phase = |phase| VolumeStep::Phase(phase, String::new());
    if facts::claim_uid(volume).is_none() {
        return vec![phase("Available")];
    }
    let Some(claim) = claim else { return released(volume) };
    match facts::volume_name(claim) {
        None if !facts::is_of_same_mode(volume, claim) => {
            let of_volume = format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"{}\" due to incompatible volumeMode.",
                claim.name()
            );
            let of_claim = format!(
                "Cannot bind PersistentVolume \"{}\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
                volume.name()
            );
            vec![
                VolumeStep::Tell(Told::warning("VolumeMismatch", of_volume)),
                VolumeStep::TellClaim(Told::warning("VolumeMismatch", of_claim)),
            ]
        }
        // The claim's turn goes on with it.
        None => Vec::new(),
        Some(name) if name == volume.name() => vec![phase("Bound")],
        // It was made for a claim that has another.
        Some(_) if is_made(volume) && policy(volume) == "Delete" => released(volume),
        Some(_) => vec![VolumeStep::Unbind, phase("Available")],
    }
}

fn is_made(volume: &PersistentVolume) -> bool {
    facts::annotation(&volume.metadata, PROVISIONED_BY).is_some()
}

fn policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

/// A volume whose claim is gone.
fn released(volume: &PersistentVolume) -> Vec<VolumeStep> {
    let current = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let mut steps = Vec::new();
    if !matches!(current, Some("Released" | "Failed")) {
        steps.push(VolumeStep::Phase("Released", String::new()));
    }
    let failed = match policy(volume) {
        "Retain" => None,
        "Delete" => not_deleted(volume).map(|message| ("VolumeFailedDelete", message)),
        "Recycle" => Some(("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned())),
        _ => {
            let message = "Volume has an unrecognized reclaim policy.";
            Some(("VolumeUnknownReclaimPolicy", message.to_owned()))
        }
    };
    if let Some((reason, message)) = failed.filter(|_| current != Some("Failed")) {
        steps.push(VolumeStep::Phase("Failed", message.clone()));
        steps.push(VolumeStep::Tell(Told::warning(reason, message)));
    }
    steps
}

/// Why nobody removes a volume: whoever made it does.
fn not_deleted(volume: &PersistentVolume) -> Option<String> {
    let made_by = facts::annotation(&volume.metadata, PROVISIONED_BY).filter(|name| !name.is_empty());
    if made_by.is_some_and(|name| !name.starts_with(IN_TREE)) {
        return None;
    }
    let name = volume.name();
    Some(format!(
        "error getting deleter volume plugin for volume \"{name}\": no deletable volume plugin matched"
    ))
}

#[cfg(test)]
mod tests;

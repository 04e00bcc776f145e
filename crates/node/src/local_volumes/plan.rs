//! What is to be done for a claim and for a volume of the class that this node makes volumes for: pure.

use std::collections::BTreeMap;
use std::path::Path;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::PROVISIONER;
use super::rooms::{Claim, Form};

/// Holds a volume until what is on the node's disk is gone.
pub(super) const FINALIZER: &str = "gantry.dev/local-path";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
/// By which a volume names its node.
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What is next for a claim.
#[derive(Debug, PartialEq)]
pub(super) enum ClaimStep {
    Nothing,
    /// A volume is made for it.
    Make(Request),
    /// It asks for what cannot be had here.
    Refuse(String),
}

/// A volume that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    /// What it is called.
    pub(super) name: String,
    pub(super) claim: Claim,
    pub(super) bytes: u64,
    pub(super) form: Form,
    /// As the claim and its class say it.
    capacity: Quantity,
    access_modes: Vec<String>,
    class: String,
    policy: String,
}

/// What is next for a volume.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum VolumeStep {
    Nothing,
    /// What is on disk is removed, and then the volume.
    Remove,
    /// It goes, and what is on disk stays.
    LetGo,
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class that every cluster has: volumes where their pods run, which go with their claims.
pub(super) fn class(name: &str) -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([(DEFAULT_CLASS.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        allow_volume_expansion: Some(true),
        ..StorageClass::default()
    }
}

/// The claim that a volume names.
pub(super) fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let reference = volume.spec.as_ref()?.claim_ref.as_ref()?;
    Some(ObjectKey::new(reference.namespace.clone()?, reference.name.clone()?))
}

/// The volume that is made for a claim.
pub(super) fn volume_key(claim: &PersistentVolumeClaim) -> ObjectKey {
    ObjectKey::cluster(format!("pvc-{}", claim.uid()))
}

pub(super) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, OLD_CLASS).or(named).unwrap_or_default()
}

/// Whether a claim waits for a volume that is made here: on this node, or, where nobody chose one, on any.
pub(super) fn is_for(claim: &PersistentVolumeClaim, node: &str) -> bool {
    let has_volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    annotation(&claim.metadata, STORAGE_PROVISIONER) == Some(PROVISIONER)
        && annotation(&claim.metadata, SELECTED_NODE).is_none_or(|selected| selected == node)
        && has_volume.is_none_or(str::is_empty)
        && !claim.is_being_deleted()
}

fn storage(amounts: Option<&BTreeMap<String, Quantity>>) -> Option<&Quantity> {
    amounts.and_then(|amounts| amounts.get("storage"))
}

fn bytes(amount: &Quantity) -> Option<u64> {
    let amount = amount.0.parse::<model::Quantity>().ok()?;
    u64::try_from(amount.value()).ok().filter(|bytes| *bytes > 0)
}

pub(super) fn request(claim: &PersistentVolumeClaim) -> Option<&Quantity> {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    storage(resources.and_then(|resources| resources.requests.as_ref()))
}

/// What is next for a claim that waits.
pub(super) fn claim(claim: &PersistentVolumeClaim, class: Option<&StorageClass>, node: &str) -> ClaimStep {
    let refuse = |why: &str| ClaimStep::Refuse(why.to_owned());
    // Whoever binds claims says it where there is none.
    let Some(class) = class.filter(|class| class.provisioner == PROVISIONER) else {
        return ClaimStep::Nothing;
    };
    let Some(spec) = &claim.spec else { return ClaimStep::Nothing };
    if annotation(&claim.metadata, SELECTED_NODE) != Some(node) {
        return refuse("no node was selected: the class needs the volumeBindingMode WaitForFirstConsumer");
    }
    if class.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty()) {
        return refuse("the class has parameters, of which none are known");
    }
    if class.mount_options.as_ref().is_some_and(|options| !options.is_empty()) {
        return refuse("the class has mountOptions, which directories of a node cannot have");
    }
    if spec.selector.is_some() {
        return refuse("claim Selector is not supported");
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return refuse("a claim with a dataSource is not supported");
    }
    if spec.volume_attributes_class_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return refuse("a claim with a volumeAttributesClassName is not supported");
    }
    let modes = spec.access_modes.clone().unwrap_or_default();
    if modes.iter().any(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod")) {
        return refuse("only the access modes ReadWriteOnce and ReadWriteOncePod are supported");
    }
    let Some(capacity) = request(claim) else { return refuse("the claim asks for nothing") };
    let Some(bytes) = bytes(capacity) else { return refuse("the size is out of range") };
    ClaimStep::Make(Request {
        name: volume_key(claim).name,
        claim: Claim {
            namespace: claim.namespace().unwrap_or_default().to_owned(),
            name: claim.name().to_owned(),
            uid: claim.uid().to_owned(),
        },
        bytes,
        form: match spec.volume_mode.as_deref() {
            Some("Block") => Form::File,
            _ => Form::Directory,
        },
        capacity: capacity.clone(),
        access_modes: modes,
        class: class.name().to_owned(),
        policy: class.reclaim_policy.clone().unwrap_or_else(|| "Delete".to_owned()),
    })
}

/// The volume that tells of a room at `path` of a node.
pub(super) fn volume_of(request: &Request, path: &Path, node: &str) -> PersistentVolume {
    let own_node = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: Some(vec![own_node]), match_fields: None };
    let mode = match request.form {
        Form::Directory => "Filesystem",
        Form::File => "Block",
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(request.name.clone()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())])),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(request.access_modes.clone()),
            capacity: Some(BTreeMap::from([("storage".to_owned(), request.capacity.clone())])),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: Some(request.claim.namespace.clone()),
                name: Some(request.claim.name.clone()),
                uid: Some(request.claim.uid.clone()),
                ..ObjectReference::default()
            }),
            local: Some(LocalVolumeSource { path: path.to_string_lossy().into_owned(), fs_type: None }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(request.policy.clone()),
            storage_class_name: Some(request.class.clone()),
            volume_mode: Some(mode.to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// Whether a volume was made on this node.
pub(super) fn is_of_node(volume: &PersistentVolume, node: &str) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    let terms = required.iter().flat_map(|required| &required.node_selector_terms);
    let mut expressions = terms.flat_map(|term| term.match_expressions.iter().flatten());
    let names_node = expressions.any(|expression| {
        expression.key == HOSTNAME
            && expression.values.as_ref().is_some_and(|values| values.iter().any(|value| value == node))
    });
    annotation(&volume.metadata, PROVISIONED_BY) == Some(PROVISIONER) && names_node
}

/// What is next for a volume that was made here.
pub(super) fn volume(volume: &PersistentVolume) -> VolumeStep {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    let is_held = volume.metadata.finalizers.iter().flatten().any(|held| held == FINALIZER);
    let is_left = matches!(phase, Some("Released" | "Failed"));
    match (policy, volume.is_being_deleted()) {
        (Some("Delete"), false) if is_left => VolumeStep::Remove,
        // Somebody removes it whose claim may be there still: as long as that has it, it stays.
        (Some("Delete"), true) if is_held && phase != Some("Bound") => VolumeStep::Remove,
        (_, true) if is_held && phase != Some("Bound") => VolumeStep::LetGo,
        _ => VolumeStep::Nothing,
    }
}

/// The claims that may have a volume which is to be removed: the one that it names, and the one that it was made for.
pub(super) fn claims_to_ask(volume: &PersistentVolume, recorded: Option<&Claim>) -> Vec<ObjectKey> {
    let mut keys: Vec<ObjectKey> = claim_key(volume).into_iter().chain(recorded.map(Claim::key)).collect();
    keys.dedup();
    keys
}

/// Whether a claim that is there has a volume: the volume names it, if only by its name, or was made for it and is
/// named by it still.
pub(super) fn has(
    claim: &PersistentVolumeClaim,
    volume: &PersistentVolume,
    recorded: Option<&Claim>,
) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let is_named = claim_key(volume).is_some_and(|key| key == claim.key())
        && reference
            .and_then(|reference| reference.uid.as_deref())
            .is_none_or(|uid| uid.is_empty() || uid == claim.uid());
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let was_made_for = recorded.is_some_and(|recorded| recorded.uid == claim.uid());
    is_named || (was_made_for && named == Some(volume.name()))
}

/// Whether a volume that is there already is the one that was to be made for a claim on this node.
pub(super) fn is_as_made(volume: &PersistentVolume, request: &Request, node: &str) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    is_of_node(volume, node)
        && reference.and_then(|reference| reference.uid.as_deref()) == Some(request.claim.uid.as_str())
}

/// Whether a claim asks for more than it has.
pub(super) fn may_want_more(claim: &PersistentVolumeClaim) -> bool {
    let Some(status) = &claim.status else { return false };
    let has = storage(status.capacity.as_ref()).and_then(bytes);
    status.phase.as_deref() == Some("Bound") && request(claim).and_then(bytes) > has && has.is_some()
}

#[cfg(test)]
mod tests;

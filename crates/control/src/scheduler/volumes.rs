//! What the scheduler knows of volumes, and which of them a pod would get on a node.
//!
//! Claims are of three sorts when a pod comes: those that have their volume, which says itself where it can be
//! used; those that wait for their first consumer, for which a volume is found or made where the pod goes; and
//! those whose volume is somebody else's business, which the pod waits for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use model::quantity::Quantity;

use super::devices::Allotment;
use super::framework::Refusal;
use super::node::NodeFacts;
use super::pod::{NodeName, PodInfo, Uid};

mod matching;

pub(super) use matching::is_usable_on;

/// Where a claim's consumer goes is told to who makes its volume.
pub(super) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";

const UNBOUND_IMMEDIATE: &str = "pod has unbound immediate PersistentVolumeClaims";
const NONE_TO_BIND: &str = "node(s) didn't find available persistent volumes to bind";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const NO_SPACE: &str = "node(s) did not have enough free storage";

/// The objects, and what was decided about them that is not shown yet.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    volumes: HashMap<String, Arc<PersistentVolume>>,
    by_class: HashMap<String, BTreeSet<String>>,
    claims: HashMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    classes: HashMap<String, Arc<StorageClass>>,
    nodes: HashMap<String, Arc<CSINode>>,
    drivers: HashMap<String, Arc<CSIDriver>>,
    capacities: HashMap<ObjectKey, Arc<CSIStorageCapacity>>,
    /// The claims that volumes were decided for.
    given: HashMap<String, ObjectKey>,
    /// The nodes that claims' volumes are to be made for.
    selected: HashMap<ObjectKey, NodeName>,
    decided: HashMap<Uid, Plan>,
}

/// What is to be done about the volumes and the devices of a pod on its node.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Plan {
    /// Volumes that are there, each for a claim.
    pub bind: Vec<(String, ObjectKey)>,
    /// Claims for which volumes are to be made where the pod goes.
    pub provision: Vec<ObjectKey>,
    /// Claims to devices.
    pub devices: Vec<Allotment>,
}

/// The claims of a pod, sorted.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    bound: Vec<&'a PersistentVolumeClaim>,
    /// The smallest first.
    waiting: Vec<&'a PersistentVolumeClaim>,
}

impl Plan {
    /// Whether something is to be done about volumes, which others have to do their part of.
    pub fn has_volumes(&self) -> bool {
        !self.bind.is_empty() || !self.provision.is_empty()
    }
}

impl Volumes {
    pub(super) fn set_volume(&mut self, volume: Arc<PersistentVolume>) {
        self.remove_volume(volume.name());
        let name = volume.name().to_owned();
        self.by_class.entry(class_of_volume(&volume).to_owned()).or_default().insert(name.clone());
        self.volumes.insert(name, volume);
    }

    pub(super) fn remove_volume(&mut self, name: &str) {
        let Some(old) = self.volumes.remove(name) else { return };
        let class = class_of_volume(&old);
        if let Some(names) = self.by_class.get_mut(class) {
            names.remove(name);
            if names.is_empty() {
                self.by_class.remove(class);
            }
        }
    }

    pub(super) fn set_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        self.claims.insert(claim.key(), claim);
    }

    pub(super) fn remove_claim(&mut self, key: &ObjectKey) {
        self.claims.remove(key);
    }

    pub(super) fn set_class(&mut self, class: Arc<StorageClass>) {
        self.classes.insert(class.name().to_owned(), class);
    }

    pub(super) fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    pub(super) fn set_node(&mut self, node: Arc<CSINode>) {
        self.nodes.insert(node.name().to_owned(), node);
    }

    pub(super) fn remove_node(&mut self, name: &str) {
        self.nodes.remove(name);
    }

    pub(super) fn set_driver(&mut self, driver: Arc<CSIDriver>) {
        self.drivers.insert(driver.name().to_owned(), driver);
    }

    pub(super) fn remove_driver(&mut self, name: &str) {
        self.drivers.remove(name);
    }

    pub(super) fn set_capacity(&mut self, capacity: Arc<CSIStorageCapacity>) {
        self.capacities.insert(capacity.key(), capacity);
    }

    pub(super) fn remove_capacity(&mut self, key: &ObjectKey) {
        self.capacities.remove(key);
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<&PersistentVolumeClaim> {
        self.claims.get(&ObjectKey::new(namespace, name)).map(|claim| &**claim)
    }

    pub(super) fn volume(&self, name: &str) -> Option<&PersistentVolume> {
        self.volumes.get(name).map(|volume| &**volume)
    }

    pub(super) fn class(&self, name: &str) -> Option<&StorageClass> {
        self.classes.get(name).map(|class| &**class)
    }

    pub(super) fn csi_node(&self, name: &str) -> Option<&CSINode> {
        self.nodes.get(name).map(|node| &**node)
    }

    /// Whether volumes of a class are found or made where their first consumer goes.
    pub(super) fn waits_for_consumer(&self, claim: &PersistentVolumeClaim) -> bool {
        let class = self.class(class_of(claim));
        class.and_then(|class| class.volume_binding_mode.as_deref()) == Some("WaitForFirstConsumer")
    }

    /// Sorts the claims of a pod, or says what it waits for before any node is looked at.
    pub(super) fn sort(&self, pod: &PodInfo) -> Result<Sorted<'_>, Refusal> {
        let mut claims = Vec::new();
        for claimed in &pod.claims {
            let name = &claimed.name;
            let Some(claim) = self.claim(pod.namespace(), name) else {
                let wait = "waiting for ephemeral volume controller to create the persistentvolumeclaim";
                return Err(Refusal::hopeless(match claimed.ephemeral {
                    true => format!("{wait} \"{name}\""),
                    false => format!("persistentvolumeclaim \"{name}\" not found"),
                }));
            };
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
                let volume = volume_name(claim).unwrap_or_default();
                let message = format!(
                    "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
                );
                return Err(Refusal::hopeless(message));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(Refusal::hopeless(format!("persistentvolumeclaim \"{name}\" is being deleted")));
            }
            let owned = || claim.controller().is_some_and(|owner| *owner.uid == *pod.id.uid);
            if claimed.ephemeral && !owned() {
                let namespace = pod.namespace();
                return Err(Refusal::hopeless(format!(
                    "PVC {namespace}/{name} was not created for pod {} (pod is not owner)",
                    pod.id
                )));
            }
            claims.push(claim);
        }
        let mut sorted = Sorted::default();
        for claim in claims {
            let is_free = volume_name(claim).is_none();
            match is_bound(claim) {
                true => sorted.bound.push(claim),
                false if is_free && self.waits_for_consumer(claim) => sorted.waiting.push(claim),
                false => return Err(Refusal::hopeless(UNBOUND_IMMEDIATE)),
            }
        }
        sorted.waiting.sort_by_key(|claim| requested(claim));
        Ok(sorted)
    }

    /// What would be done for a pod with these claims on a node, or why its volumes are not to be had there.
    pub(super) fn plan(&self, claims: &Sorted<'_>, node: &NodeFacts) -> Result<Plan, Refusal> {
        let mut reasons: Vec<&'static str> = Vec::new();
        if let Some(reason) = self.bound_elsewhere(&claims.bound, node) {
            reasons.push(reason);
        }
        let mut plan = Plan::default();
        match self.waiting(&claims.waiting, node) {
            Ok(found) => plan = found,
            Err(reason) => reasons.push(reason),
        }
        if reasons.is_empty() {
            return Ok(plan);
        }
        // In upstream's order: what cannot be had before what is elsewhere.
        reasons.reverse();
        Err(Refusal { reasons: reasons.into_iter().map(Into::into).collect(), hopeless: true })
    }

    fn bound_elsewhere(&self, bound: &[&PersistentVolumeClaim], node: &NodeFacts) -> Option<&'static str> {
        for claim in bound {
            let Some(volume) = volume_name(claim).and_then(|name| self.volume(name)) else {
                return Some(GONE);
            };
            if !matching::is_usable_on(volume, node) {
                return Some(ELSEWHERE);
            }
        }
        None
    }

    fn waiting(&self, waiting: &[&PersistentVolumeClaim], node: &NodeFacts) -> Result<Plan, &'static str> {
        let mut plan = Plan::default();
        let mut chosen: BTreeSet<&str> = BTreeSet::new();
        for claim in waiting {
            let key = claim.key();
            if let Some(selected) = self.selected_node(claim) {
                if *selected != *node.name {
                    return Err(NONE_TO_BIND);
                }
                self.may_be_made(claim, node)?;
                plan.provision.push(key);
                continue;
            }
            match self.find(claim, node, &chosen) {
                Some(volume) => {
                    chosen.insert(volume.name());
                    plan.bind.push((volume.name().to_owned(), key));
                }
                None => {
                    self.may_be_made(claim, node)?;
                    plan.provision.push(key);
                }
            }
        }
        Ok(plan)
    }

    /// The node that a claim's volume is to be made for.
    fn selected_node<'a>(&'a self, claim: &'a PersistentVolumeClaim) -> Option<&'a str> {
        let decided = self.selected.get(&claim.key()).map(|node| &**node);
        decided.or_else(|| annotation(claim, SELECTED_NODE))
    }

    /// Whether a volume for a claim can be made for a node.
    fn may_be_made(&self, claim: &PersistentVolumeClaim, node: &NodeFacts) -> Result<(), &'static str> {
        let class = self.class(class_of(claim)).ok_or(NONE_TO_BIND)?;
        if class.provisioner.is_empty() || class.provisioner == "kubernetes.io/no-provisioner" {
            return Err(NONE_TO_BIND);
        }
        if !matching::allows(class.allowed_topologies.as_deref().unwrap_or_default(), node) {
            return Err(NONE_TO_BIND);
        }
        let driver = self.drivers.get(&class.provisioner).and_then(|driver| driver.spec.storage_capacity);
        let size = requested(claim);
        if driver != Some(true) || size == 0 {
            return Ok(());
        }
        let mut capacities = self.capacities.values();
        let fits = capacities.any(|capacity| {
            capacity.storage_class_name == class.name() && matching::has_room(capacity, size, node)
        });
        if fits { Ok(()) } else { Err(NO_SPACE) }
    }

    /// Notes what was decided for a pod.
    pub(super) fn assume(&mut self, uid: &Uid, node: &NodeName, plan: Plan) {
        if !plan.has_volumes() {
            return;
        }
        self.given.extend(plan.bind.iter().cloned());
        self.selected.extend(plan.provision.iter().map(|claim| (claim.clone(), node.clone())));
        self.decided.insert(uid.clone(), plan);
    }

    /// Takes back what was decided for a pod, or lets go of it once it is shown.
    pub(super) fn release(&mut self, uid: &Uid) {
        let Some(plan) = self.decided.remove(uid) else { return };
        for (volume, claim) in &plan.bind {
            if self.given.get(volume) == Some(claim) {
                self.given.remove(volume);
            }
        }
        for claim in &plan.provision {
            self.selected.remove(claim);
        }
    }
}

/// Whether a claim has its volume, and both know it.
pub(super) fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    volume_name(claim).is_some() && annotation(claim, BIND_COMPLETED).is_some()
}

/// The volume that a claim names.
pub(super) fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

pub(super) fn annotation<'a>(claim: &'a PersistentVolumeClaim, key: &str) -> Option<&'a str> {
    claim.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class of a claim; empty if it has none. One that is written the old way counts first.
pub(super) fn class_of(claim: &PersistentVolumeClaim) -> &str {
    let old = annotation(claim, "volume.beta.kubernetes.io/storage-class");
    let new = || claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    old.or_else(new).unwrap_or_default()
}

fn class_of_volume(volume: &PersistentVolume) -> &str {
    let annotations = volume.metadata.annotations.as_ref();
    let old = annotations.and_then(|all| all.get("volume.beta.kubernetes.io/storage-class"));
    let new = || volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    old.map(String::as_str).or_else(new).unwrap_or_default()
}

/// How large a claim wants its volume.
fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")).map_or(0, |text| bytes(&text.0))
}

fn bytes(text: &str) -> i64 {
    text.parse::<Quantity>().map_or(0, |quantity| quantity.value())
}

#[cfg(test)]
mod tests;

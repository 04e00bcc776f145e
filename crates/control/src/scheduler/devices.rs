//! What the scheduler knows of devices, and which of them a pod's claims would get on a node.
//!
//! Drivers tell of devices in slices, which belong to pools; a pool counts once all slices of its newest
//! generation are there. Which devices a claim or a class means may be said by expressions, which are not
//! evaluated here: a pod with such a claim waits, and is told so. Devices that share counters, that several
//! claims can have a part of, or that are bound in steps are left alone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use client::{ObjectKey, Resource as _};
use k8s_openapi::api::resource::v1::{
    AllocationResult, Device, DeviceClass, DeviceSelector, DeviceToleration, ResourceClaim, ResourceSlice,
};

use super::framework::Refusal;
use super::node::NodeFacts;
use super::pod::{PodInfo, Uid};

mod search;

/// So many pods can have one claim at once.
const CONSUMERS: usize = 256;

/// The objects, and what was decided about them that is not shown yet.
#[derive(Debug, Default)]
pub(super) struct Devices {
    claims: HashMap<ObjectKey, Arc<ResourceClaim>>,
    classes: HashMap<String, Arc<DeviceClass>>,
    slices: HashMap<String, Arc<ResourceSlice>>,
    /// The slices of each node, and those that are of no single one.
    by_node: HashMap<String, BTreeSet<String>>,
    of_several: BTreeSet<String>,
    /// What claims were decided to get, and how many pods are to have each.
    given: HashMap<ObjectKey, (AllocationResult, usize)>,
    decided: HashMap<Uid, Vec<Allotment>>,
}

/// What is to be done about a claim of a pod that gets a node.
#[derive(Clone, PartialEq, Debug)]
pub struct Allotment {
    /// The claim, which the pod is to have.
    pub claim: ObjectKey,
    /// The devices that it gets; nothing if it has them.
    pub allocation: Option<AllocationResult>,
}

/// The claims of a pod, and which devices are had by others.
pub(super) struct Wanted<'a> {
    allocated: Vec<(&'a ResourceClaim, &'a AllocationResult)>,
    open: Vec<&'a ResourceClaim>,
    taken: HashSet<DeviceId<'a>>,
    /// The pools that are whole, with their generations.
    pools: HashMap<(&'a str, &'a str), i64>,
}

/// A device, by driver, pool and name.
type DeviceId<'a> = (&'a str, &'a str, &'a str);

/// One request of a claim, or one of several that it can choose from.
#[derive(Clone, Copy)]
struct Ask<'a> {
    name: &'a str,
    /// Of which request it is one, if it is one of several.
    of: Option<&'a str>,
    class: &'a str,
    selectors: Option<&'a [DeviceSelector]>,
    mode: Option<&'a str>,
    count: Option<i64>,
    tolerations: &'a [DeviceToleration],
    is_admin: bool,
    has_capacity: bool,
}

impl Devices {
    pub(super) fn set_claim(&mut self, claim: Arc<ResourceClaim>) {
        self.claims.insert(claim.key(), claim);
    }

    pub(super) fn remove_claim(&mut self, key: &ObjectKey) {
        self.claims.remove(key);
    }

    pub(super) fn set_class(&mut self, class: Arc<DeviceClass>) {
        self.classes.insert(class.name().to_owned(), class);
    }

    pub(super) fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    pub(super) fn set_slice(&mut self, slice: Arc<ResourceSlice>) {
        self.remove_slice(slice.name());
        let name = slice.name().to_owned();
        match &slice.spec.node_name {
            Some(node) => self.by_node.entry(node.clone()).or_default().insert(name.clone()),
            None => self.of_several.insert(name.clone()),
        };
        self.slices.insert(name, slice);
    }

    pub(super) fn remove_slice(&mut self, name: &str) {
        let Some(old) = self.slices.remove(name) else { return };
        self.of_several.remove(name);
        if let Some(node) = &old.spec.node_name
            && let Some(names) = self.by_node.get_mut(node)
        {
            names.remove(name);
            if names.is_empty() {
                self.by_node.remove(node);
            }
        }
    }

    /// Sorts the claims of a pod, or says what it waits for before any node is looked at.
    pub(super) fn sort(&self, pod: &PodInfo) -> Result<Wanted<'_>, Refusal> {
        let (mut allocated, mut open) = (Vec::new(), Vec::new());
        for wanted in &pod.devices {
            let Some(name) = &wanted.claim else {
                let name = &wanted.name;
                return Err(Refusal::hopeless(format!(
                    "pod \"{}\": ResourceClaim for \"{name}\" not created yet",
                    pod.id
                )));
            };
            let claim = self.claims.get(&ObjectKey::new(pod.namespace(), name));
            let Some(claim) = claim.map(|claim| &**claim) else {
                return Err(Refusal::hopeless(format!("resourceclaim \"{name}\" not found")));
            };
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(Refusal::hopeless(format!("resourceclaim \"{name}\" is being deleted")));
            }
            let owned = || claim.controller().is_some_and(|owner| *owner.uid == *pod.id.uid);
            if wanted.templated && !owned() {
                return Err(Refusal::hopeless(format!(
                    "ResourceClaim {}/{name} was not created for pod {} (pod is not owner)",
                    pod.namespace(),
                    pod.id
                )));
            }
            match self.allocation(claim) {
                None => {
                    self.check(claim)?;
                    open.push(claim);
                }
                Some(_) if !self.has_room(claim, pod) => {
                    return Err(Refusal::hopeless("resourceclaim in use"));
                }
                Some(allocation) => allocated.push((claim, allocation)),
            }
        }
        let (taken, pools) = match open.is_empty() {
            true => (HashSet::new(), HashMap::new()),
            false => (self.taken(), self.pools()),
        };
        Ok(Wanted { allocated, open, taken, pools })
    }

    /// What would be done about the claims on a node, or why they cannot be had there.
    pub(super) fn allot(&self, wanted: &Wanted<'_>, node: &NodeFacts) -> Result<Vec<Allotment>, Refusal> {
        for (_, allocation) in &wanted.allocated {
            let terms = allocation.node_selector.as_ref().map(|selector| &selector.node_selector_terms);
            if terms.is_some_and(|terms| !super::plugins::matches_any(terms, node)) {
                return Err(Refusal::hopeless("resourceclaim not available on the node"));
            }
        }
        let had = wanted.allocated.iter().map(|(claim, _)| (claim.key(), None));
        let mut all: Vec<(ObjectKey, Option<AllocationResult>)> = had.collect();
        if !wanted.open.is_empty() {
            let found =
                self.search(wanted, node).ok_or_else(|| Refusal::hopeless("cannot allocate all claims"))?;
            all.extend(wanted.open.iter().map(|claim| claim.key()).zip(found.into_iter().map(Some)));
        }
        Ok(all.into_iter().map(|(claim, allocation)| Allotment { claim, allocation }).collect())
    }

    /// Notes what was decided for a pod.
    pub(super) fn assume(&mut self, uid: &Uid, allotments: &[Allotment]) {
        if allotments.is_empty() {
            return;
        }
        for allotment in allotments {
            if let Some(allocation) = &allotment.allocation {
                self.given.entry(allotment.claim.clone()).or_insert((allocation.clone(), 0)).1 += 1;
            } else if let Some((_, pods)) = self.given.get_mut(&allotment.claim) {
                *pods += 1;
            }
        }
        self.decided.insert(uid.clone(), allotments.to_vec());
    }

    /// Takes back what was decided for a pod, or lets go of it once it is shown.
    pub(super) fn release(&mut self, uid: &Uid) {
        for allotment in self.decided.remove(uid).unwrap_or_default() {
            if let Some((_, pods)) = self.given.get_mut(&allotment.claim) {
                *pods = pods.saturating_sub(1);
                if *pods == 0 {
                    self.given.remove(&allotment.claim);
                }
            }
        }
    }

    fn allocation<'a>(&'a self, claim: &'a ResourceClaim) -> Option<&'a AllocationResult> {
        let shown = claim.status.as_ref().and_then(|status| status.allocation.as_ref());
        shown.or_else(|| self.given.get(&claim.key()).map(|(allocation, _)| allocation))
    }

    fn has_room(&self, claim: &ResourceClaim, pod: &PodInfo) -> bool {
        let had = claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default();
        had.len() < CONSUMERS || had.iter().any(|one| *one.uid == *pod.id.uid)
    }

    /// Refuses what cannot be decided here.
    fn check(&self, claim: &ResourceClaim) -> Result<(), Refusal> {
        for ask in requests(claim).flatten() {
            let name = ask.shown();
            let Some(class) = self.classes.get(ask.class) else {
                return Err(Refusal::hopeless(format!(
                    "request {name}: device class {} does not exist",
                    ask.class
                )));
            };
            let has = |selectors: Option<&[DeviceSelector]>| selectors.is_some_and(|all| !all.is_empty());
            if has(ask.selectors) || has(class.spec.selectors.as_deref()) {
                return Err(Refusal::hopeless(format!(
                    "request {name}: devices are selected by CEL, which this scheduler does not evaluate"
                )));
            }
            if ask.has_capacity {
                return Err(Refusal::hopeless(format!(
                    "request {name}: a part of a device is asked for, which this scheduler does not give"
                )));
            }
        }
        Ok(())
    }

    /// The devices that claims have.
    fn taken(&self) -> HashSet<DeviceId<'_>> {
        let shown = self.claims.values().filter_map(|claim| claim.status.as_ref()?.allocation.as_ref());
        let given = self.given.values().map(|(allocation, _)| allocation);
        let devices = shown.chain(given).filter_map(|allocation| allocation.devices.as_ref());
        let results = devices.flat_map(|devices| devices.results.iter().flatten());
        // Who looks after a device does not have it.
        let had = results.filter(|result| result.admin_access != Some(true));
        had.map(|result| (result.driver.as_str(), result.pool.as_str(), result.device.as_str())).collect()
    }

    /// The pools that are whole.
    fn pools(&self) -> HashMap<(&str, &str), i64> {
        let mut pools: HashMap<(&str, &str), (i64, i64, i64)> = HashMap::new();
        for slice in self.slices.values() {
            let pool = &slice.spec.pool;
            let known = pools.entry((&slice.spec.driver, &pool.name)).or_insert((pool.generation, 0, 0));
            if pool.generation > known.0 {
                *known = (pool.generation, 0, 0);
            }
            if pool.generation == known.0 {
                *known = (known.0, known.1 + 1, pool.resource_slice_count);
            }
        }
        let whole = pools.into_iter().filter(|(_, (_, there, all))| there == all);
        whole.map(|(pool, (generation, ..))| (pool, generation)).collect()
    }

    /// The devices that a node could have of whole pools, by name.
    fn on_node<'a>(&'a self, wanted: &Wanted<'_>, node: &NodeFacts) -> Vec<(&'a ResourceSlice, &'a Device)> {
        let names = self.by_node.get(&*node.name).into_iter().flatten().chain(&self.of_several);
        let slices = names.filter_map(|name| self.slices.get(name)).map(|slice| &**slice);
        let whole = |slice: &&ResourceSlice| {
            let pool = &slice.spec.pool;
            wanted.pools.get(&(slice.spec.driver.as_str(), pool.name.as_str())) == Some(&pool.generation)
        };
        let mut all = Vec::new();
        for slice in slices.filter(whole) {
            let spec = &slice.spec;
            let each = spec.per_device_node_selection == Some(true);
            let of_slice =
                is_near(spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref(), node);
            let usable = |device: &&Device| {
                let of_device = || {
                    let name = device.node_name.as_deref();
                    is_near(name, device.all_nodes, device.node_selector.as_ref(), node)
                };
                (if each { of_device() } else { of_slice })
                    && device.allow_multiple_allocations != Some(true)
                    && device.consumes_counters.as_ref().is_none_or(Vec::is_empty)
                    && device.binding_conditions.as_ref().is_none_or(Vec::is_empty)
            };
            all.extend(spec.devices.iter().flatten().filter(usable).map(|device| (slice, device)));
        }
        all
    }
}

impl Ask<'_> {
    /// Its name, as results have it.
    fn shown(&self) -> String {
        self.of.map_or_else(|| self.name.to_owned(), |of| format!("{of}/{}", self.name))
    }
}

/// The requests of a claim: each with what it can choose from, the best first.
fn requests(claim: &ResourceClaim) -> impl Iterator<Item = Vec<Ask<'_>>> {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    requests.map(|request| {
        let exactly = request.exactly.iter().map(|exactly| Ask {
            name: &request.name,
            of: None,
            class: &exactly.device_class_name,
            selectors: exactly.selectors.as_deref(),
            mode: exactly.allocation_mode.as_deref(),
            count: exactly.count,
            tolerations: exactly.tolerations.as_deref().unwrap_or_default(),
            is_admin: exactly.admin_access == Some(true),
            has_capacity: exactly.capacity.is_some(),
        });
        let first = request.first_available.iter().flatten().map(|one| Ask {
            name: &one.name,
            of: Some(&request.name),
            class: &one.device_class_name,
            selectors: one.selectors.as_deref(),
            mode: one.allocation_mode.as_deref(),
            count: one.count,
            tolerations: one.tolerations.as_deref().unwrap_or_default(),
            is_admin: false,
            has_capacity: one.capacity.is_some(),
        });
        exactly.chain(first).collect()
    })
}

/// Whether a node has what is said to be on one, on all, or on those that are selected.
fn is_near(
    name: Option<&str>,
    all: Option<bool>,
    selector: Option<&k8s_openapi::api::core::v1::NodeSelector>,
    node: &NodeFacts,
) -> bool {
    let selected =
        || selector.is_some_and(|selector| super::plugins::matches_any(&selector.node_selector_terms, node));
    name == Some(&*node.name) || all == Some(true) || selected()
}

#[cfg(test)]
mod tests;

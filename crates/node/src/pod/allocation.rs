//! What a pod was granted by its node, as against what it asks for: pure.
//!
//! ```text
//!   asked for (spec) ──► granted (allocation, on disk) ──► there (control groups)
//!          │ no room, or never any                │ refused by the kernel, or by what is in use
//!          ▼                                      ▼
//!   PodResizePending                       PodResizeInProgress
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::Quantity;

use super::groups::requested;
use super::resources::quality_of_service;

/// What a pod was granted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allocation {
    /// As a whole, where something is said of that.
    pub pod: Option<ResourceRequirements>,
    /// By the names of its containers.
    pub containers: BTreeMap<String, ResourceRequirements>,
}

impl Allocation {
    /// All that a pod asks for.
    pub fn wanted(pod: &Pod) -> Self {
        let amounts = |resources: &ResourceRequirements| ResourceRequirements {
            limits: resources.limits.clone(),
            requests: resources.requests.clone(),
            claims: None,
        };
        let Some(spec) = &pod.spec else { return Self::default() };
        let granted = |container: &Container| {
            (container.name.clone(), container.resources.as_ref().map(amounts).unwrap_or_default())
        };
        Self {
            pod: spec.resources.as_ref().map(amounts),
            containers: containers(spec).map(granted).collect(),
        }
    }

    /// Whether this is all that a pod asks for.
    pub fn is_all_of(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return true };
        is_same(self.pod.as_ref(), spec.resources.as_ref())
            && containers(spec)
                .all(|container| is_same(self.containers.get(&container.name), container.resources.as_ref()))
    }

    /// The pod with what it was granted instead of what it asks for.
    #[must_use]
    pub fn applied(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if self.is_all_of(pod) {
            return Arc::clone(pod);
        }
        let mut granted = Pod::clone(pod);
        if let Some(spec) = &mut granted.spec {
            with(&mut spec.resources, self.pod.as_ref());
            let inits = spec.init_containers.iter_mut().flatten();
            for container in inits.chain(&mut spec.containers) {
                if let Some(resources) = self.containers.get(&container.name) {
                    with(&mut container.resources, Some(resources));
                }
            }
        }
        Arc::new(granted)
    }
}

/// Containers that can be granted something else than they ask for.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

fn with(resources: &mut Option<ResourceRequirements>, granted: Option<&ResourceRequirements>) {
    let claims = resources.take().and_then(|resources| resources.claims);
    *resources = granted.map(|granted| ResourceRequirements { claims, ..granted.clone() });
}

/// Whether the same amounts are named, however they are written.
fn is_same(one: Option<&ResourceRequirements>, other: Option<&ResourceRequirements>) -> bool {
    let side = |of: Option<&BTreeMap<String, Text>>| -> BTreeMap<String, Option<Quantity>> {
        of.into_iter().flatten().map(|(name, text)| (name.clone(), text.0.parse().ok())).collect()
    };
    let limits = |of: Option<&ResourceRequirements>| side(of.and_then(|of| of.limits.as_ref()));
    let requests = |of: Option<&ResourceRequirements>| side(of.and_then(|of| of.requests.as_ref()));
    limits(one) == limits(other) && requests(one) == requests(other)
}

/// Processors in thousandths, and bytes of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Thousandths of processors.
    pub cpu: i64,
    /// Bytes.
    pub memory: i64,
}

impl Room {
    /// What a pod takes of its node.
    pub fn taken(pod: &Pod) -> Self {
        Self { cpu: requested(pod, "cpu"), memory: requested(pod, "memory") }
    }

    /// The larger of each.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        Self { cpu: self.cpu.max(other.cpu), memory: self.memory.max(other.memory) }
    }

    fn and(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_add(other.cpu), memory: self.memory.saturating_add(other.memory) }
    }

    fn less(self, other: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(other.cpu), memory: self.memory.saturating_sub(other.memory) }
    }
}

/// What a node has for pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// All that pods may ever take together.
    pub all: Room,
    /// What is given to pods.
    pub allocatable: Room,
}

/// Why a pod is not granted what it asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `Deferred`: there may be room later; or `Infeasible`: there never will.
    pub reason: &'static str,
    /// In the kubelet's words.
    pub message: String,
}

/// `PodResizePending`, as long as others have what is asked for.
pub const DEFERRED: &str = "Deferred";
/// `PodResizePending`, since the node has not got it.
pub const INFEASIBLE: &str = "Infeasible";

/// A pod of the node.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// As it asks to be.
    pub pod: Arc<Pod>,
    /// With what it was granted.
    pub granted: Arc<Pod>,
    /// What its containers may still have of what it was granted before.
    pub held: Room,
    /// Its place among those that wait: who came first is asked first.
    pub since: u64,
}

impl Tenant {
    /// What it takes.
    fn takes(&self) -> Room {
        Room::taken(&self.granted).most(self.held)
    }

    fn waits(&self) -> bool {
        !Arc::ptr_eq(&self.pod, &self.granted)
    }

    /// Those that ask for no more come first, then the more important, the better class, the longer wait.
    fn order(&self) -> impl Ord + use<> {
        let (asked, granted) = (Room::taken(&self.pod), Room::taken(&self.granted));
        let more = asked.cpu > granted.cpu || asked.memory > granted.memory;
        let priority = self.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        let guaranteed = quality_of_service(&self.pod) == "Guaranteed";
        (more, std::cmp::Reverse(priority), !guaranteed, self.since)
    }
}

/// What becomes of each pod that waits, by its place among `tenants`: it is granted what it asks for, or why not.
pub fn decide(tenants: &[Tenant], capacity: Capacity) -> Vec<(usize, Result<(), Refusal>)> {
    let mut waiting: Vec<usize> = (0..tenants.len()).filter(|&place| tenants[place].waits()).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    waiting.sort_by_key(|&place| tenants[place].order());
    let mut used = tenants.iter().map(Tenant::takes).fold(Room::default(), Room::and);
    let mut decided = Vec::with_capacity(waiting.len());
    for place in waiting {
        let (own, asked) = (tenants[place].takes(), Room::taken(&tenants[place].pod));
        let others = used.less(own);
        let fits = fits(asked, others, capacity);
        if fits.is_ok() {
            // What it gives back is there for others once its containers have given it back.
            used = others.and(own.most(asked));
        }
        decided.push((place, fits));
    }
    decided
}

fn fits(asked: Room, others: Room, capacity: Capacity) -> Result<(), Refusal> {
    let infeasible = |what: &str, requested: i64, all: i64| {
        let message =
            format!("Node didn't have enough capacity: {what}, requested: {requested}, capacity: {all}");
        Err(Refusal { reason: INFEASIBLE, message })
    };
    if asked.memory > capacity.all.memory {
        return infeasible("memory", asked.memory, capacity.all.memory);
    }
    if asked.cpu > capacity.all.cpu {
        return infeasible("cpu", asked.cpu, capacity.all.cpu);
    }
    let left = capacity.allocatable.less(others);
    for (what, asked, left, used, all) in [
        ("cpu", asked.cpu, left.cpu, others.cpu, capacity.allocatable.cpu),
        ("memory", asked.memory, left.memory, others.memory, capacity.allocatable.memory),
    ] {
        if asked > 0 && asked > left {
            let message = format!(
                "Node didn't have enough resource: {what}, requested: {asked}, used: {used}, capacity: {all}"
            );
            return Err(Refusal { reason: DEFERRED, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(cpu: &str, more: Value) -> Arc<Pod> {
        let mut spec = json!({"containers": [
            {"name": "a", "resources": {"requests": {"cpu": cpu, "memory": "1Mi"}}}]});
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        Arc::new(serde_json::from_value(json!({ "spec": spec })).expect("a pod"))
    }

    fn tenant(granted: &str, asked: Option<&str>, since: u64) -> Tenant {
        let granted = pod(granted, json!({}));
        let asked = asked.map_or_else(|| Arc::clone(&granted), |asked| pod(asked, json!({})));
        Tenant { pod: asked, granted, held: Room::default(), since }
    }

    fn capacity(cpu: i64) -> Capacity {
        let room = Room { cpu, memory: 1 << 30 };
        Capacity { all: room, allocatable: room }
    }

    fn decided(tenants: &[Tenant], cpu: i64) -> Vec<(usize, String)> {
        let decided = decide(tenants, capacity(cpu)).into_iter();
        decided
            .map(|(place, fits)| match fits {
                Ok(()) => (place, "granted".to_owned()),
                Err(refusal) => (place, format!("{}: {}", refusal.reason, refusal.message)),
            })
            .collect()
    }

    #[test]
    fn what_there_is_room_for_is_granted_and_the_rest_waits_or_never_will_be() {
        let granted = |place| (place, "granted".to_owned());
        assert_eq!(decided(&[tenant("1", None, 0)], 4000), []);
        assert_eq!(decided(&[tenant("1", Some("2"), 0)], 4000), [granted(0)]);
        assert_eq!(
            decided(&[tenant("1", Some("2"), 0), tenant("2500m", None, 0)], 4000),
            [(0, "Deferred: Node didn't have enough resource: cpu, requested: 2000, used: 2500, capacity: 4000".to_owned())]
        );
        assert_eq!(
            decided(&[tenant("1", Some("9"), 0)], 4000),
            [(
                0,
                "Infeasible: Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000"
                    .to_owned()
            )]
        );
    }

    #[test]
    fn what_is_asked_for_beyond_all_numbers_is_refused_and_breaks_no_sum() {
        let huge = "9000P";
        let found =
            decided(&[tenant("1", Some(huge), 0), tenant(huge, None, 0), tenant(huge, None, 0)], 4000);
        assert!(found[0].1.starts_with("Infeasible: "), "{found:?}");
    }

    #[test]
    fn who_asks_for_no_more_comes_first_then_the_important_then_who_waits_longest() {
        let mut important = tenant("1", Some("2"), 9);
        important.pod = pod("2", json!({"priority": 5}));
        let all =
            [tenant("1", Some("2"), 2), tenant("1", Some("2"), 1), important, tenant("2", Some("1"), 7)];
        let order: Vec<usize> = decided(&all, 64_000).into_iter().map(|(place, _)| place).collect();
        assert_eq!(order, [3, 2, 1, 0]);
        // There is room for one of them, and it is that of the first that asks for more.
        let found = decided(&all, 6000);
        let granted: Vec<usize> =
            found.iter().filter(|(_, said)| said == "granted").map(|(place, _)| *place).collect();
        assert_eq!(granted, [3, 2]);
    }

    #[test]
    fn what_is_still_held_is_nobody_else_s() {
        let mut shrinking = tenant("1", None, 0);
        shrinking.held = Room { cpu: 3000, memory: 0 };
        assert!(decided(&[shrinking.clone(), tenant("1", Some("2"), 1)], 4000)[0].1.starts_with("Deferred"));
        shrinking.held = Room::default();
        assert_eq!(decided(&[shrinking, tenant("1", Some("2"), 1)], 4000)[0].1, "granted");
    }

    #[test]
    fn an_allocation_is_of_amounts_and_not_of_their_spelling() {
        let of = |cpu: &str| Allocation::wanted(&pod(cpu, json!({})));
        assert!(of("1").is_all_of(&pod("1000m", json!({}))));
        assert!(!of("1").is_all_of(&pod("1001m", json!({}))));
        let asked = pod("4", json!({"resources": {"limits": {"cpu": "8"}}}));
        let granted = of("1").applied(&asked);
        let spec = granted.spec.as_ref().expect("a spec");
        assert_eq!(spec.resources, None);
        assert_eq!(requested(&granted, "cpu"), 1000);
        assert!(of("1").is_all_of(&granted));
    }
}

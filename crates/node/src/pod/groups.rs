//! Control groups of pods: what all containers of a pod take together, and how pods of one class
//! stand against the others.
//!
//! ```text
//! <instance>/pods/<sandbox>                 guaranteed pods
//! <instance>/pods/burstable/<sandbox>
//! <instance>/pods/besteffort/<sandbox>
//! ```
//!
//! Sums and weights are the kubelet's. Source:
//! <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/kubelet/cm/helpers_linux.go>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::{Format, Quantity};

use super::resources::{self, PERIOD, quality_of_service, quantity, shares};
use super::status::role;
use crate::pod::plan::Role;
use crate::reserves::{self, Amounts};
use crate::runtime::Resources;

/// The group of all pods.
pub(crate) const ALL: &str = "pods";
const BURSTABLE: &str = "pods/burstable";
const BEST_EFFORT: &str = "pods/besteffort";

/// The group below which a pod of this class has its own.
pub fn parent(class: &str) -> &'static str {
    match class {
        "Guaranteed" => ALL,
        "Burstable" => BURSTABLE,
        _ => BEST_EFFORT,
    }
}

/// What all containers of a pod may take together: its weight, and limits where every container
/// has one.
pub fn of_pod(pod: &Pod) -> Resources {
    let class = quality_of_service(pod);
    let cpu_limit = total(pod, "cpu", Kind::Limit).filter(|&millis| millis > 0);
    let memory = total(pod, "memory", Kind::Limit).filter(|&bytes| bytes > 0);
    if class == "BestEffort" {
        return Resources { cpu_shares: Some(shares(0)), ..Resources::default() };
    }
    Resources {
        cpu_shares: Some(shares(requested(pod, "cpu"))),
        cpu_period: cpu_limit.map(|_| PERIOD),
        cpu_quota: cpu_limit.map(resources::quota),
        memory,
        memory_swap: memory,
        ..Resources::default()
    }
}

/// What the group of all pods may take and weighs, and the weights of the classes, given all pods of the
/// node and what they may take together.
pub fn limits<'a>(pods: impl Iterator<Item = &'a Pod>, together: Amounts) -> [(&'static str, Resources); 3] {
    let burstable = pods
        .filter(|pod| !super::is_over(pod) && quality_of_service(pod) == "Burstable")
        .map(|pod| requested(pod, "cpu"))
        .fold(0, i64::saturating_add);
    let weight = |millis| Resources { cpu_shares: Some(shares(millis)), ..Resources::default() };
    [(ALL, reserves::limits(together)), (BURSTABLE, weight(burstable)), (BEST_EFFORT, weight(0))]
}

/// How much a pod asks for of a resource: thousandths of processors, units of all else.
pub fn requested(pod: &Pod, name: &str) -> i64 {
    total(pod, name, Kind::Request).unwrap_or(0)
}

/// All that a pod asks for.
pub fn all_requested(pod: &Pod) -> BTreeMap<String, Text> {
    let Some(spec) = &pod.spec else { return BTreeMap::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let resources = containers.filter_map(|container| container.resources.as_ref()).chain(&spec.resources);
    let named = resources.flat_map(|resources| resources.requests.iter().flatten());
    let named = named.chain(spec.overhead.iter().flatten());
    // How the first one was written is how the sum is.
    let mut formats: BTreeMap<&String, Format> = BTreeMap::new();
    for (name, text) in named {
        if let Ok(amount) = text.0.parse::<Quantity>() {
            formats.entry(name).or_insert(amount.format());
        }
    }
    let sum = |(name, format): (&String, Format)| {
        let amount = requested(pod, name);
        let amount =
            if name == "cpu" { Quantity::from_millis(amount) } else { Quantity::new(amount, format) };
        (name.clone(), Text(amount.to_string()))
    };
    formats.into_iter().map(sum).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Request,
    Limit,
}

/// What a pod needs of a resource at its most, in thousandths of processors or in bytes: all main containers and sidecars
/// together, or an init container with the sidecars that were started before it. `None` where a
/// container has no limit.
fn total(pod: &Pod, name: &str, kind: Kind) -> Option<i64> {
    let amount = |found: Quantity| if name == "cpu" { found.millis() } else { found.value() };
    let spec = pod.spec.as_ref()?;
    let overhead = spec.overhead.as_ref().and_then(|overhead| quantity(Some(overhead), name));
    let overhead = overhead.map_or(0, amount);
    // What is said of the whole pod goes over what its containers say.
    let whole = spec.resources.as_ref();
    let limit = whole.and_then(|all| quantity(all.limits.as_ref(), name));
    let request = whole.and_then(|all| quantity(all.requests.as_ref(), name));
    if let Some(found) = if kind == Kind::Limit { limit } else { request.or(limit) } {
        return Some(amount(found).saturating_add(overhead));
    }
    let of = |container: &Container| -> Option<i64> {
        let requirements = container.resources.as_ref();
        let limit = quantity(requirements.and_then(|all| all.limits.as_ref()), name);
        let found = match kind {
            Kind::Limit => limit,
            Kind::Request => quantity(requirements.and_then(|all| all.requests.as_ref()), name).or(limit),
        };
        match found {
            Some(found) => Some(amount(found)),
            None if kind == Kind::Request => Some(0),
            None => None,
        }
    };
    let (mut sidecars, mut most) = (0i64, 0i64);
    for container in spec.init_containers.iter().flatten() {
        let own = of(container)?;
        if role(container) == Role::Sidecar {
            sidecars = sidecars.saturating_add(own);
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars.saturating_add(own));
        }
    }
    let mut mains = sidecars;
    for container in &spec.containers {
        mains = mains.saturating_add(of(container)?);
    }
    Some(most.max(mains).saturating_add(overhead))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).expect("a pod")
    }

    #[track_caller]
    fn check(spec: Value, group: &str, shares: u64, quota: Option<i64>, memory: Option<i64>) {
        let pod = pod(spec);
        let found = of_pod(&pod);
        assert_eq!(parent(quality_of_service(&pod)), group);
        assert_eq!((found.cpu_shares, found.cpu_quota, found.memory), (Some(shares), quota, memory));
    }

    fn with(name: &str, resources: Value) -> Value {
        json!({"name": name, "resources": resources})
    }

    #[test]
    fn a_pod_has_the_sums_of_its_containers() {
        check(json!({"containers": [with("a", json!({}))]}), BEST_EFFORT, 2, None, None);
        let guaranteed = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        check(
            json!({"containers": [with("a", guaranteed.clone()), with("b", guaranteed.clone())]}),
            ALL,
            1024,
            Some(100_000),
            Some(128 << 20),
        );
        check(
            json!({"containers": [with("a", guaranteed.clone()), with("b", json!({"requests": {"cpu": "1"}}))]}),
            BURSTABLE,
            1536,
            None,
            None,
        );
        let burstable = json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        check(json!({"containers": [with("a", burstable)]}), BURSTABLE, 102, Some(100_000), Some(1 << 30));
    }

    #[test]
    fn what_is_said_of_the_whole_pod_goes_over_what_its_containers_say() {
        let of = |whole: Value, containers: Value| json!({"resources": whole, "containers": containers});
        let whole = json!({"limits": {"cpu": "500m", "memory": "64Mi"}});
        check(of(whole.clone(), json!([with("a", json!({}))])), ALL, 512, Some(50_000), Some(64 << 20));
        let more = with("a", json!({"limits": {"cpu": "2", "memory": "1Gi"}}));
        check(of(whole, json!([more.clone()])), ALL, 512, Some(50_000), Some(64 << 20));
        check(
            of(json!({"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}}), json!([more])),
            BURSTABLE,
            102,
            Some(200_000),
            Some(64 << 20),
        );
    }

    #[test]
    fn init_containers_count_where_they_need_more_and_sidecars_always() {
        let cpu = |millis: &str| json!({"requests": {"cpu": millis}, "limits": {"cpu": millis}});
        let mut sidecar = with("s", cpu("250m"));
        sidecar["restartPolicy"] = json!("Always");
        let spec = json!({
            "initContainers": [sidecar, with("i", cpu("2"))],
            "containers": [with("a", cpu("1"))],
        });
        check(spec, BURSTABLE, 2304, Some(225_000), None);
    }

    #[test]
    fn all_that_a_pod_asks_for_is_told_as_it_is_written() {
        let of = |cpu: &str, memory: &str| {
            with("c", json!({"requests": {"cpu": cpu, "memory": memory, "example.org/d": "1"}}))
        };
        let pod =
            pod(json!({"containers": [of("500m", "64Mi"), of("1", "1Gi")], "overhead": {"cpu": "250m"}}));
        let all: Vec<(String, String)> =
            all_requested(&pod).into_iter().map(|(name, amount)| (name, amount.0)).collect();
        let expected = [("cpu", "1750m"), ("example.org/d", "2"), ("memory", "1088Mi")];
        assert_eq!(all, expected.map(|(name, amount)| (name.to_owned(), amount.to_owned())));
    }

    #[test]
    fn classes_are_weighed_by_what_their_pods_ask_for() {
        let burstable =
            |millis: &str| pod(json!({"containers": [with("a", json!({"requests": {"cpu": millis}}))]}));
        let mut ended = burstable("4");
        ended.status.get_or_insert_default().phase = Some("Succeeded".to_owned());
        let pods = [
            burstable("500m"),
            burstable("1500m"),
            pod(json!({"containers": [with("a", json!({}))]})),
            ended,
        ];
        let together = Amounts { cpu: 4000, memory: 8 << 30, ..Amounts::default() };
        let limits = limits(pods.iter(), together);
        assert_eq!(limits.each_ref().map(|(_, limits)| limits.memory), [Some(8 << 30), None, None]);
        let found = limits.map(|(group, resources)| (group, resources.cpu_shares));
        assert_eq!(found, [(ALL, Some(4096)), (BURSTABLE, Some(2048)), (BEST_EFFORT, Some(2))]);
    }

    #[test]
    fn sums_that_nobody_can_have_stay_large() {
        let huge = || json!({"cpu": "9000P", "memory": "8Ei"});
        let pods: Vec<Pod> =
            (0..3).map(|_| pod(json!({"containers": [with("a", json!({"requests": huge()}))]}))).collect();
        let together = Amounts { cpu: i64::MAX, ..Amounts::default() };
        let found = super::limits(pods.iter(), together).map(|(_, resources)| resources.cpu_shares);
        assert_eq!(found, [Some(262_144), Some(262_144), Some(2)], "the class is not taken for nothing");
        let limits = || with("a", json!({"limits": huge()}));
        check(
            json!({"containers": [limits(), limits()]}),
            ALL,
            262_144,
            Some(resources::MOST_QUOTA),
            Some(i64::MAX),
        );
    }
}

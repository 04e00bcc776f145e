//! From what a pod was granted to what its containers may use: what differs, and what a resize is called: pure.

use base::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use model::quantity::Quantity;
use serde_json::{Value, json};

use super::resources::{self, quantity};
use crate::runtime::{GroupUsage, Resources};

/// A pod's condition: it asks for something that it was not granted.
pub const PENDING: &str = "PodResizePending";
/// A pod's condition: its containers have not got yet what it was granted.
pub const IN_PROGRESS: &str = "PodResizeInProgress";
/// The reason of the latter where that has failed; it is tried again.
const ERROR: &str = "Error";

/// How far a pod's containers are from what it asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// It was not granted what it asks for.
    pub pending: Option<Pending>,
    /// Its containers have not got what it was granted.
    pub under_way: Option<UnderWay>,
}

/// A pod was not granted what it asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: String,
    /// In words.
    pub message: String,
    /// The pod's generation that asks.
    pub generation: i64,
    /// Since when it is so for this reason.
    pub since: Time,
    /// When that was last found.
    pub found: Time,
}

/// The containers of a pod are given what it was granted.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderWay {
    /// The pod's generation that asked for it.
    pub generation: i64,
    /// Why they have not got it; it is tried again.
    pub error: Option<String>,
    /// Since when it is so.
    pub since: Time,
    /// When that was last found.
    pub found: Time,
}

impl Progress {
    /// What conditions tell.
    pub fn of(conditions: &[PodCondition]) -> Self {
        let find = |kind: &str| {
            conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let times = |condition: &PodCondition| {
            let since = condition.last_transition_time.clone().unwrap_or(Time(Timestamp::UNIX_EPOCH));
            (since.clone(), condition.last_probe_time.clone().unwrap_or(since))
        };
        Self {
            pending: find(PENDING).map(|condition| {
                let (since, found) = times(condition);
                Pending {
                    reason: text(&condition.reason),
                    message: text(&condition.message),
                    generation: condition.observed_generation.unwrap_or(0),
                    since,
                    found,
                }
            }),
            under_way: find(IN_PROGRESS).map(|condition| {
                let (since, found) = times(condition);
                UnderWay {
                    generation: condition.observed_generation.unwrap_or(0),
                    error: condition.message.clone().filter(|_| condition.reason.as_deref() == Some(ERROR)),
                    since,
                    found,
                }
            }),
        }
    }

    /// As conditions tell it.
    pub fn conditions(&self) -> Vec<PodCondition> {
        let pending = self.pending.as_ref().map(|pending| PodCondition {
            type_: PENDING.to_owned(),
            status: "True".to_owned(),
            reason: Some(pending.reason.clone()),
            message: Some(pending.message.clone()),
            observed_generation: Some(pending.generation),
            last_transition_time: Some(pending.since.clone()),
            last_probe_time: Some(pending.found.clone()),
        });
        let under_way = self.under_way.as_ref().map(|under_way| PodCondition {
            type_: IN_PROGRESS.to_owned(),
            status: "True".to_owned(),
            reason: under_way.error.as_ref().map(|_| ERROR.to_owned()),
            message: under_way.error.clone(),
            observed_generation: Some(under_way.generation),
            last_transition_time: Some(under_way.since.clone()),
            last_probe_time: Some(under_way.found.clone()),
        });
        pending.into_iter().chain(under_way).collect()
    }
}

/// What an event tells of a resize: the amounts of all containers, the generation, and what is the matter.
pub fn message(what: &str, pod: &Pod, generation: i64, error: Option<&str>) -> String {
    let amounts = |containers: &[Container]| -> Value {
        let one = |container: &Container| {
            let all = container.resources.clone().unwrap_or_default();
            json!({ "name": container.name, "resources": ResourceRequirements { claims: None, ..all } })
        };
        containers.iter().map(one).collect()
    };
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let mains = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    // Whoever reads it knows it in this order.
    let mut parts = Vec::new();
    if !inits.is_empty() {
        parts.push(format!("\"initContainers\":{}", amounts(inits)));
    }
    if !mains.is_empty() {
        parts.push(format!("\"containers\":{}", amounts(mains)));
    }
    parts.push(format!("\"generation\":{generation}"));
    parts.extend(error.map(|error| format!("\"error\":{}", Value::from(error))));
    format!("{what}: {{{}}}", parts.join(","))
}

/// How what a container may use differs from what it is to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The name of the container.
    pub name: String,
    /// What is to change of its memory.
    pub memory: Option<Resources>,
    /// Whether that becomes less.
    pub less_memory: bool,
    /// What is to change of its processors.
    pub cpu: Option<Resources>,
    /// Whether those become less.
    pub less_cpu: bool,
    /// Its policy wants it to be started anew for that.
    pub restarts: bool,
}

impl Difference {
    /// What differs between what a container may use and what it is to; nothing where nothing does.
    pub fn between(container: &Container, there: &Resources, wanted: &Resources) -> Option<Self> {
        let memory = wanted.memory.filter(|wanted| there.memory != Some(*wanted));
        let cpu = (wanted.cpu_shares, wanted.cpu_quota) != (there.cpu_shares, there.cpu_quota);
        if memory.is_none() && !cpu {
            return None;
        }
        let policies = container.resize_policy.iter().flatten();
        let restarts =
            policies.filter(|policy| policy.restart_policy == "RestartContainer").any(|policy| match policy
                .resource_name
                .as_str()
            {
                "memory" => memory.is_some(),
                "cpu" => cpu,
                _ => false,
            });
        // No limit is more than any.
        let less = |there: Option<i64>, wanted: Option<i64>| {
            wanted.is_some_and(|wanted| there.is_none_or(|there| there > wanted))
        };
        Some(Self {
            name: container.name.clone(),
            memory: memory.map(|limit| Resources {
                memory: Some(limit),
                memory_swap: Some(limit),
                ..Resources::default()
            }),
            less_memory: less(there.memory, memory),
            cpu: cpu.then(|| processors(wanted)),
            less_cpu: less(there.cpu_quota, wanted.cpu_quota) || there.cpu_shares > wanted.cpu_shares,
            restarts,
        })
    }
}

/// What of limits is of processors.
pub fn processors(wanted: &Resources) -> Resources {
    Resources {
        cpu_shares: wanted.cpu_shares,
        cpu_quota: wanted.cpu_quota,
        cpu_period: wanted.cpu_period,
        ..Resources::default()
    }
}

/// What all containers of a pod may use together, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Together {
    /// The weight; `None` where nobody knows.
    pub shares: Option<u64>,
    /// The quota; `None` is no limit.
    pub quota: Option<i64>,
    /// Bytes of memory; `None` is no limit.
    pub memory: Option<u64>,
}

/// Bytes of a page, in which the kernel counts limits of memory.
const PAGE: u64 = 4096;

impl Together {
    /// What the kernel tells.
    pub fn of(group: &GroupUsage) -> Self {
        Self { shares: None, quota: group.cpu_quota, memory: group.memory_limit }
    }

    /// What was set.
    pub fn set(resources: &Resources) -> Self {
        Self {
            shares: resources.cpu_shares,
            quota: resources.cpu_quota,
            memory: resources.memory.and_then(|bytes| u64::try_from(bytes).ok()),
        }
    }

    /// How memory is to change, if it is: whether it becomes less, and to what. Where it is to have no limit it
    /// keeps the one that it has.
    pub fn memory_to(&self, wanted: &Resources) -> Option<(bool, u64)> {
        let wanted = wanted.memory.and_then(|bytes| u64::try_from(bytes).ok())?;
        match self.memory {
            Some(there) if there / PAGE == wanted / PAGE => None,
            Some(there) => Some((wanted < there, wanted)),
            None => Some((true, wanted)),
        }
    }

    /// Whether the quota is to change, and whether it becomes less.
    pub fn quota_to(&self, wanted: &Resources) -> Option<bool> {
        let quota = wanted.cpu_quota?;
        (self.quota != Some(quota)).then(|| self.quota.is_none_or(|there| quota < there))
    }

    /// Whether the weight is known to be another.
    pub fn weighs_otherwise(&self, wanted: &Resources) -> bool {
        self.shares.is_some() && self.shares != wanted.cpu_shares
    }
}

/// What a container is told to have: what it was granted, but for what it really has where that differs.
pub fn reported(container: &Container, there: Option<&Resources>) -> Option<ResourceRequirements> {
    let granted = container.resources.clone()?;
    let Some(there) = there else { return Some(granted) };
    let mut told = granted.clone();
    let limit = |name| quantity(granted.limits.as_ref(), name);
    let request = |name| quantity(granted.requests.as_ref(), name).or_else(|| limit(name));
    let shares = resources::shares(request("cpu").map_or(0, Quantity::millis));
    if let Some(found) = there.cpu_shares.filter(|found| *found != shares) {
        let millis = i64::try_from(found.saturating_mul(1000) / 1024).unwrap_or(i64::MAX);
        let requests = told.requests.get_or_insert_default();
        requests.insert("cpu".to_owned(), Text(Quantity::from_millis(millis).to_string()));
    }
    let quota = limit("cpu").map(Quantity::millis).filter(|&millis| millis > 0).map(resources::quota);
    if there.cpu_quota != quota {
        let found = there.cpu_quota.map(|quota| Quantity::from_millis(quota / 100));
        put(&mut told, "cpu", found);
    }
    let memory = limit("memory").map(Quantity::value).filter(|&bytes| bytes > 0);
    if there.memory != memory {
        put(&mut told, "memory", there.memory.map(Quantity::from_bytes));
    }
    Some(told)
}

/// A pod with what its running containers really have, as far as that can be told, instead of what they are to have.
pub fn found<'a>(pod: &Pod, there: impl Fn(&str) -> Option<&'a Resources>) -> Pod {
    let mut pod = pod.clone();
    let Some(spec) = &mut pod.spec else { return pod };
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let Some(mut told) = reported(container, there(&container.name)) else { continue };
        // The kernel knows no request for memory: where it is to be the limit, it is what the limit is.
        let is_limit = container.resources.as_ref().is_some_and(|granted| {
            let limit = quantity(granted.limits.as_ref(), "memory");
            limit.is_some() && limit == quantity(granted.requests.as_ref(), "memory")
        });
        let limit =
            told.limits.as_ref().and_then(|limits| limits.get("memory")).filter(|_| is_limit).cloned();
        if let Some(limit) = limit {
            told.requests.get_or_insert_default().insert("memory".to_owned(), limit);
        }
        container.resources = Some(told);
    }
    pod
}

fn put(told: &mut ResourceRequirements, name: &str, amount: Option<Quantity>) {
    let limits = told.limits.get_or_insert_default();
    match amount {
        Some(amount) => drop(limits.insert(name.to_owned(), Text(amount.to_string()))),
        None => drop(limits.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::resources::of_container;

    fn pod(resources: Value, policy: Value) -> Pod {
        let container = json!({"name": "c", "resources": resources, "resizePolicy": policy});
        serde_json::from_value(json!({"spec": {"containers": [container]}})).expect("a pod")
    }

    #[test]
    fn what_a_pod_is_found_to_have_is_what_its_containers_have() {
        let amounts = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
        let both = |cpu: &str, memory: &str| json!({"requests": amounts(cpu, memory), "limits": amounts(cpu, memory)});
        let there = limits(both("3", "1Gi"));
        let taken = |granted: Value| {
            let pod = pod(granted, json!([]));
            crate::pod::allocation::Room::taken(&found(&pod, |name| (name == "c").then_some(&there)))
        };
        let room = |cpu: i64, memory: i64| crate::pod::allocation::Room { cpu, memory };
        assert_eq!(taken(both("1", "64Mi")), room(3000, 1 << 30));
        assert_eq!(taken(json!({"requests": amounts("1", "64Mi")})), room(3000, 64 << 20));
        let idle = pod(both("1", "64Mi"), json!([]));
        assert_eq!(crate::pod::allocation::Room::taken(&found(&idle, |_| None)), room(1000, 64 << 20));
    }

    fn limits(resources: Value) -> Resources {
        let pod = pod(resources, json!([]));
        of_container(&pod, &pod.spec.as_ref().expect("a spec").containers[0], 1 << 30)
    }

    fn of(cpu: &str, memory: &str) -> Value {
        json!({"requests": {"cpu": cpu, "memory": "1Mi"}, "limits": {"cpu": cpu, "memory": memory}})
    }

    #[track_caller]
    fn check(from: Value, to: Value, policy: Value, expected: Option<(Option<bool>, Option<bool>, bool)>) {
        let pod = pod(to.clone(), policy);
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let found = Difference::between(container, &limits(from), &limits(to));
        let found = found.map(|found| {
            (found.memory.map(|_| found.less_memory), found.cpu.map(|_| found.less_cpu), found.restarts)
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_kernel_would_not_notice_is_no_difference() {
        let none = || json!([]);
        check(of("1", "1Gi"), of("1000m", "1024Mi"), none(), None);
        check(of("1m", "1Gi"), of("2m", "1Gi"), none(), None);
        check(of("1", "1Gi"), of("2", "1Gi"), none(), Some((None, Some(false), false)));
        check(of("2", "1Gi"), of("1", "2Gi"), none(), Some((Some(false), Some(true), false)));
        check(of("1", "2Gi"), of("1", "1Gi"), none(), Some((Some(true), None, false)));
        let unlimited = json!({"requests": {"cpu": "1"}});
        check(unlimited, of("1", "1Gi"), none(), Some((Some(true), Some(true), false)));
    }

    #[test]
    fn a_policy_asks_for_another_start_only_for_what_it_is_about() {
        let policy = || {
            json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"},
                               {"resourceName": "cpu", "restartPolicy": "NotRequired"}])
        };
        check(of("1", "1Gi"), of("2", "1Gi"), policy(), Some((None, Some(false), false)));
        check(of("1", "1Gi"), of("1", "2Gi"), policy(), Some((Some(false), None, true)));
        check(of("1", "1Gi"), of("2", "2Gi"), policy(), Some((Some(false), Some(false), true)));
    }

    #[test]
    fn a_pod_s_limits_grow_first_and_shrink_last_and_are_counted_in_pages() {
        let there = Together { shares: None, quota: Some(50_000), memory: Some(64 << 20) };
        let wanted = |cpu_quota, memory| Resources { cpu_quota, memory, ..Resources::default() };
        assert_eq!(there.memory_to(&wanted(None, Some((64 << 20) + 1))), None);
        assert_eq!(there.memory_to(&wanted(None, Some(1 << 30))), Some((false, 1 << 30)));
        assert_eq!(there.memory_to(&wanted(None, Some(1 << 20))), Some((true, 1 << 20)));
        assert_eq!(Together::default().memory_to(&wanted(None, Some(1 << 20))), Some((true, 1 << 20)));
        assert_eq!(there.memory_to(&wanted(None, None)), None);
        assert_eq!(there.quota_to(&wanted(Some(50_000), None)), None);
        assert_eq!(there.quota_to(&wanted(Some(20_000), None)), Some(true));
        assert_eq!(there.quota_to(&wanted(Some(90_000), None)), Some(false));
    }

    #[test]
    fn it_is_told_what_a_container_really_has() {
        let told = |granted: Value, there: Value| {
            let pod = pod(granted, json!([]));
            let container = &pod.spec.as_ref().expect("a spec").containers[0];
            json!(reported(container, Some(&limits(there))).expect("resources"))
        };
        let spelled = of("1000m", "1024Mi");
        assert_eq!(told(spelled.clone(), of("1", "1Gi")), spelled);
        let found = told(of("2", "2Gi"), of("1", "1Gi"));
        assert_eq!(found["limits"], json!({"cpu": "1", "memory": "1Gi"}));
        assert_eq!(found["requests"], json!({"cpu": "1", "memory": "1Mi"}));
        let found = told(of("1", "1Gi"), json!({"requests": {"cpu": "1"}}));
        assert_eq!(found["limits"], json!({}));
    }

    #[test]
    fn events_and_conditions_are_in_the_kubelet_s_words() {
        let pod = pod(json!({"requests": {"cpu": "1"}}), json!([]));
        assert_eq!(
            message("Pod resize started", &pod, 2, None),
            r#"Pod resize started: {"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}],"generation":2}"#
        );
        assert!(message("Pod resize error", &pod, 2, Some("x")).ends_with(r#""generation":2,"error":"x"}"#));
        let time = |second| Time(Timestamp::from_second(second).expect("in range"));
        let progress = Progress {
            pending: Some(Pending {
                reason: "Deferred".to_owned(),
                message: "m".to_owned(),
                generation: 3,
                since: time(1),
                found: time(2),
            }),
            under_way: Some(UnderWay {
                generation: 2,
                error: Some("e".to_owned()),
                since: time(3),
                found: time(4),
            }),
        };
        let conditions = progress.conditions();
        let said: Vec<_> = conditions.iter().map(|one| (&*one.type_, one.reason.as_deref())).collect();
        assert_eq!(said, [(PENDING, Some("Deferred")), (IN_PROGRESS, Some("Error"))]);
        assert_eq!(Progress::of(&conditions), progress);
    }
}

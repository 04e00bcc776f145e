//! Requests and limits of containers as the runtime takes them, and the pod's quality of service.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::Quantity;

use crate::runtime::Resources;

/// A container's limits; `node_memory` is the node's in bytes, by which the kernel's readiness to
/// kill is set for burstable pods.
pub fn of_container(pod: &Pod, container: &Container, node_memory: i64) -> Resources {
    let requirements = container.resources.as_ref();
    let limit = |name| quantity(requirements.and_then(|r| r.limits.as_ref()), name);
    let request =
        |name| quantity(requirements.and_then(|r| r.requests.as_ref()), name).or_else(|| limit(name));

    let cpu_limit = limit("cpu").map(|cpu| cpu.millis()).filter(|&millis| millis > 0);
    let memory_limit = limit("memory").map(|memory| memory.value()).filter(|&bytes| bytes > 0);
    Resources {
        memory: memory_limit,
        // A container may not swap what its limit does not cover.
        memory_swap: memory_limit,
        cpu_shares: Some(shares(request("cpu").map_or(0, |cpu| cpu.millis()))),
        cpu_period: cpu_limit.map(|_| PERIOD),
        cpu_quota: cpu_limit.map(quota),
        oom_score_adj: Some(oom_score(
            pod,
            request("memory").map_or(0, |memory| memory.value()),
            node_memory,
        )),
        // As the kubelet does unless it is told `singleProcessOOMKill`.
        oom_group: true,
        ..Resources::default()
    }
}

/// Microseconds of a scheduling period.
pub(super) const PERIOD: u64 = 100_000;

/// Eleven million processors.
pub(super) const MOST_QUOTA: i64 = 1 << 40;

/// Relative weight for a request in thousandths of a processor: 1024 is one, 2 the least.
pub(crate) fn shares(millis: i64) -> u64 {
    u64::try_from(i128::from(millis.max(0)) * 1024 / 1000).unwrap_or(u64::MAX).clamp(2, 262_144)
}

/// Microseconds per period for a limit in thousandths of a processor; the kernel takes 1 ms at least, and
/// refuses what is far beyond any machine.
pub(crate) fn quota(millis: i64) -> i64 {
    millis.saturating_mul(100).clamp(1000, MOST_QUOTA)
}

/// How readily the kernel kills a container when the node is out of memory: the more it was
/// promised of the node's memory, the later.
fn oom_score(pod: &Pod, memory_request: i64, node_memory: i64) -> i32 {
    match quality_of_service(pod) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ if node_memory <= 0 => 999,
        _ => {
            let promised = i64::try_from(i128::from(memory_request) * 1000 / i128::from(node_memory))
                .unwrap_or(i64::MAX);
            i32::try_from(1000i64.saturating_sub(promised).clamp(3, 999)).expect("a clamped score")
        }
    }
}

/// `Guaranteed`, `Burstable` or `BestEffort`, by processors and memory of all containers.
pub fn quality_of_service(pod: &Pod) -> &'static str {
    let Some(spec) = &pod.spec else { return "BestEffort" };
    let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let of_containers = || all.map(|container| container.resources.as_ref()).collect::<Vec<_>>();
    let says = |name| request_and_limit(spec.resources.as_ref(), name) != (None, None);
    // What is said of the whole pod goes over what its containers say.
    let all = if says("cpu") || says("memory") { vec![spec.resources.as_ref()] } else { of_containers() };
    let (mut any, mut guaranteed) = (false, true);
    for requirements in all {
        for name in ["cpu", "memory"] {
            let (request, limit) = request_and_limit(requirements, name);
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.or(limit) == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn request_and_limit(requirements: Option<&ResourceRequirements>, name: &str) -> (Option<i64>, Option<i64>) {
    let positive =
        |list: Option<&BTreeMap<String, Text>>| quantity(list, name).map(|q| q.millis()).filter(|&m| m > 0);
    (
        positive(requirements.and_then(|r| r.requests.as_ref())),
        positive(requirements.and_then(|r| r.limits.as_ref())),
    )
}

/// A named quantity of a list; one that cannot be read counts as absent (the API server refuses it).
pub fn quantity(list: Option<&BTreeMap<String, Text>>, name: &str) -> Option<Quantity> {
    list?.get(name)?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(resources: serde_json::Value) -> Pod {
        let pod = serde_json::json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        serde_json::from_value(pod).expect("a pod")
    }

    #[track_caller]
    fn check(
        resources: serde_json::Value,
        class: &str,
        memory: Option<i64>,
        quota: Option<i64>,
        shares: u64,
        oom: i32,
    ) {
        let pod = pod(resources);
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let found = of_container(&pod, container, 1 << 30);
        assert_eq!(quality_of_service(&pod), class);
        assert_eq!(
            (found.memory, found.cpu_quota, found.cpu_shares, found.oom_score_adj),
            (memory, quota, Some(shares), Some(oom))
        );
    }

    #[test]
    fn requests_and_limits_become_kernel_limits_and_a_class() {
        check(serde_json::json!({}), "BestEffort", None, None, 2, 1000);
        check(
            serde_json::json!({"limits": {"cpu": "500m", "memory": "64Mi"}}),
            "Guaranteed",
            Some(64 << 20),
            Some(50_000),
            512,
            -997,
        );
        // What nobody has is asked for, and must not become little.
        check(
            serde_json::json!({"limits": {"cpu": "9000P", "memory": "8Ei"}}),
            "Guaranteed",
            Some(i64::MAX),
            Some(MOST_QUOTA),
            262_144,
            -997,
        );
        check(
            serde_json::json!({"requests": {"cpu": "9000P", "memory": "8Ei"}}),
            "Burstable",
            None,
            None,
            262_144,
            3,
        );
        check(
            serde_json::json!({"requests": {"cpu": "2", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}),
            "Burstable",
            Some(1 << 30),
            None,
            2048,
            500,
        );
    }
}

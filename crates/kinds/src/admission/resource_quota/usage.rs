//! How much an object takes of what quotas bound.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;
use model::quantity::Format;
use model::validate::text;
use model::{Object, Quantity};
use serde_json::Value;

use super::matching::Kind;
use crate::claims::class;
use crate::pod_amounts::{Amounts, Wanted, held, of, with_overhead};
use crate::resource_names::{HUGE_PAGES, REQUESTS, is_extended};

/// What all containers have to ask for where it is bounded.
const ASKED_OF_ALL: [&str; 6] =
    ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
/// What is asked for by its own name and by a longer one.
const BY_BOTH: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

fn number(count: usize) -> Quantity {
    Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::Decimal)
}

/// What an object takes that is stored.
pub(super) fn of_object(kind: Kind<'_>, object: &Object, now: Timestamp) -> Amounts {
    of_wanted(kind, object, Wanted::Before, now)
}

/// What an object takes that is to be stored.
pub(super) fn of_new(kind: Kind<'_>, object: &Object, now: Timestamp) -> Amounts {
    of_wanted(kind, object, Wanted::Now, now)
}

fn of_wanted(kind: Kind<'_>, object: &Object, wanted: Wanted, now: Timestamp) -> Amounts {
    let mut taken = Amounts::from([(kind.count_name(), number(1))]);
    match kind {
        Kind::Pods if is_charged(object, now) => {
            let spec = held(object, wanted);
            taken.extend(compute(&with_overhead(&spec, "requests"), &with_overhead(&spec, "limits")));
        }
        Kind::Pods => {}
        Kind::Services => taken.extend(of_service(object)),
        Kind::Claims => taken.extend(of_claim(object)),
        Kind::Other(..) => taken.extend(kind.plain_name().map(|name| (name.to_owned(), number(1)))),
    }
    taken
}

/// A pod that has ended, or should have, uses nothing.
fn is_charged(pod: &Object, now: Timestamp) -> bool {
    if matches!(pod.get_str(&["status", "phase"]), Some("Succeeded" | "Failed")) {
        return false;
    }
    match (pod.deletion_timestamp(), pod.deletion_grace_period_seconds()) {
        (Some(when), Some(seconds)) => {
            let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            when.checked_add(grace).is_ok_and(|end| now <= end)
        }
        _ => true,
    }
}

/// Requests and limits by the names that quotas have for them.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut taken = Amounts::from([("pods".to_owned(), number(1))]);
    for (name, request) in requests {
        let longer = format!("{REQUESTS}{name}");
        if BY_BOTH.contains(&name.as_str()) || name.starts_with(HUGE_PAGES) {
            taken.insert(name.clone(), *request);
            taken.insert(longer, *request);
        } else if is_extended(name) {
            taken.insert(longer, *request);
        }
    }
    for (name, limit) in limits.iter().filter(|(name, _)| BY_BOTH.contains(&name.as_str())) {
        taken.insert(format!("limits.{name}"), *limit);
    }
    taken
}

/// What containers of a pod do not ask for though it is bounded: each with whose it is.
pub(super) fn missing(pod: &Object, counted: &[&str]) -> Option<String> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for kind in ["containers", "initContainers"] {
        for container in pod.get_list(&["spec", kind]) {
            let resources = container.get("resources");
            let said = compute(&of(resources, "requests"), &of(resources, "limits"));
            for name in ASKED_OF_ALL.iter().filter(|name| counted.contains(name)) {
                if !said.contains_key(*name) {
                    missing.entry(name).or_default().insert(text(container, "name"));
                }
            }
        }
    }
    let all = missing.into_iter().map(|(name, containers)| {
        let containers: Vec<&str> = containers.into_iter().collect();
        format!("{name} for: {}", containers.join(","))
    });
    let all: Vec<String> = all.collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Whether a pod asks for nothing.
pub(super) fn is_best_effort(pod: &Object) -> bool {
    match pod.get_str(&["status", "qosClass"]) {
        Some(class) if !class.is_empty() => class == "BestEffort",
        _ => crate::core::pod::class(pod) == "BestEffort",
    }
}

fn of_service(service: &Object) -> Amounts {
    let ports = service.get_list(&["spec", "ports"]);
    let balanced = service.get_str(&["spec", "type"]) == Some("LoadBalancer");
    let node_ports = match service.get_str(&["spec", "type"]) {
        Some("NodePort") => ports.len(),
        // What is not allocated is counted where it is named.
        Some("LoadBalancer")
            if service.get(&["spec", "allocateLoadBalancerNodePorts"]) == Some(&Value::Bool(false)) =>
        {
            ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count()
        }
        Some("LoadBalancer") => ports.len(),
        _ => 0,
    };
    Amounts::from([
        ("services".to_owned(), number(1)),
        ("services.nodeports".to_owned(), number(node_ports)),
        ("services.loadbalancers".to_owned(), number(usize::from(balanced))),
    ])
}

fn of_claim(claim: &Object) -> Amounts {
    const CLAIMS: &str = "persistentvolumeclaims";
    const STORAGE: &str = "requests.storage";
    let amount = |place: &[&str]| claim.get(place).and_then(Quantity::from_json);
    let mut taken = vec![(CLAIMS, number(1))];
    if let Some(asked) = amount(&["spec", "resources", "requests", "storage"]) {
        // More than is asked for may have been promised by now.
        let allocated = amount(&["status", "allocatedResources", "storage"]);
        let most = allocated.filter(|allocated| *allocated > asked).unwrap_or(asked);
        taken
            .push((STORAGE, if most.is_whole() { most } else { Quantity::new(most.value(), most.format()) }));
    }
    let class = class(claim);
    let of_class = taken
        .iter()
        .filter(|_| !class.is_empty())
        .map(|(name, amount)| (format!("{class}.storageclass.storage.k8s.io/{name}"), *amount));
    let of_class: Vec<(String, Quantity)> = of_class.collect();
    taken.into_iter().map(|(name, amount)| (name.to_owned(), amount)).chain(of_class).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(kind: Kind<'_>, object: Value, expected: &[(&str, &str)]) {
        let object = Object::from_value(object).expect("an object");
        let now = model::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let taken = of_object(kind, &object, now);
        let shown: Vec<(&str, String)> =
            taken.iter().map(|(name, amount)| (name.as_str(), amount.to_string())).collect();
        let shown: Vec<(&str, &str)> = shown.iter().map(|(name, amount)| (*name, amount.as_str())).collect();
        assert_eq!(shown, expected, "{object:?}");
    }

    #[test]
    fn pods_take_what_they_ask_for_until_they_have_ended() {
        let resources =
            json!({"requests": {"cpu": "1", "example.com/gpu": "2"}, "limits": {"memory": "1Gi"}});
        let spec = json!({"containers": [{"name": "a", "resources": resources}]});
        let all = [
            ("count/pods", "1"),
            ("cpu", "1"),
            ("limits.memory", "1Gi"),
            ("pods", "1"),
            ("requests.cpu", "1"),
            ("requests.example.com/gpu", "2"),
        ];
        check(Kind::Pods, json!({"spec": spec}), &all);
        check(Kind::Pods, json!({"spec": spec, "status": {"phase": "Failed"}}), &[("count/pods", "1")]);
        let going = |when: &str| json!({"deletionTimestamp": when, "deletionGracePeriodSeconds": 30});
        check(Kind::Pods, json!({"spec": spec, "metadata": going("2025-12-31T23:59:50Z")}), &all);
        check(
            Kind::Pods,
            json!({"spec": spec, "metadata": going("2025-12-31T23:59:00Z")}),
            &[("count/pods", "1")],
        );
    }

    #[test]
    fn services_and_claims_take_what_their_kind_has() {
        let service = |kind: &str, named: Option<bool>| {
            let ports = json!([{"port": 1, "nodePort": 30001}, {"port": 2}]);
            json!({"spec": {"type": kind, "ports": ports, "allocateLoadBalancerNodePorts": named}})
        };
        let taken = |ports: &'static str, balancers: &'static str| {
            [
                ("count/services", "1"),
                ("services", "1"),
                ("services.loadbalancers", balancers),
                ("services.nodeports", ports),
            ]
        };
        check(Kind::Services, service("ClusterIP", None), &taken("0", "0"));
        check(Kind::Services, service("NodePort", None), &taken("2", "0"));
        check(Kind::Services, service("LoadBalancer", None), &taken("2", "1"));
        check(Kind::Services, service("LoadBalancer", Some(false)), &taken("1", "1"));
        check(
            Kind::Claims,
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1500m"}}}}),
            &[
                ("count/persistentvolumeclaims", "1"),
                ("gold.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
                ("gold.storageclass.storage.k8s.io/requests.storage", "2"),
                ("persistentvolumeclaims", "1"),
                ("requests.storage", "2"),
            ],
        );
        check(Kind::Other("", "secrets"), json!({}), &[("count/secrets", "1"), ("secrets", "1")]);
        check(Kind::Other("apps", "deployments"), json!({}), &[("count/deployments.apps", "1")]);
    }

    #[test]
    fn every_container_asks_for_what_is_bounded() {
        let pod = json!({"spec": {
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}, {"name": "b"}],
            "initContainers": [{"name": "c"}],
        }});
        let pod = Object::from_value(pod).expect("an object");
        let said = missing(&pod, &["requests.cpu", "limits.memory", "requests.ephemeral-storage"]);
        assert_eq!(said.as_deref(), Some("limits.memory for: a,b,c; requests.cpu for: b,c"));
        assert_eq!(missing(&pod, &["pods"]), None);
    }
}

//! Defaults of Pod.

use model::default::{Fields, each, inside, missing, unset};
use serde_json::Value;

use crate::pod_spec::defaults::spec;
use crate::pod_spec::resources::together;

pub(super) fn object(fields: &mut Fields) {
    inside(fields, "metadata");
    let pod = inside(fields, "spec");
    spec(pod);
    // Only a pod itself gets these: in a template they are not yet known.
    missing(pod, "enableServiceLinks", true);
    let host_network = pod.get("hostNetwork").and_then(Value::as_bool).unwrap_or_default();
    for list in ["initContainers", "containers"] {
        for container in each(pod, list) {
            requests_from_limits(inside(container, "resources"));
            if host_network {
                for port in each(container, "ports") {
                    let number = port.get("containerPort").cloned().unwrap_or_else(|| 0.into());
                    unset(port, "hostPort", number);
                }
            }
        }
    }
    whole(pod);
    inside(fields, "status");
}

/// What a pod as a whole asks for, where it says something of that: what its containers ask for together, or
/// else what it may have.
fn whole(pod: &mut Fields) {
    if !pod.get("resources").is_some_and(Value::is_object) {
        return;
    }
    let spec = Value::Object(std::mem::take(pod));
    let of_pods = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let together: Vec<(String, Value)> = together(&spec)
        .into_iter()
        .filter(|(name, _)| of_pods(name))
        .map(|(name, amount)| (name.to_owned(), Value::from(amount.to_string())))
        .collect();
    if let Value::Object(spec) = spec {
        *pod = spec;
    }
    let resources = inside(pod, "resources");
    let mut limits = resources.get("limits").and_then(Value::as_object).cloned().unwrap_or_default();
    limits.retain(|name, _| of_pods(name));
    if together.is_empty() && limits.is_empty() {
        return;
    }
    let requests = inside(resources, "requests");
    for (name, amount) in together.into_iter().chain(limits) {
        requests.entry(name).or_insert(amount);
    }
}

/// A limit without a request is a request too.
fn requests_from_limits(resources: &mut Fields) {
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = inside(resources, "requests");
    for (name, amount) in limits {
        requests.entry(name).or_insert(amount);
    }
}

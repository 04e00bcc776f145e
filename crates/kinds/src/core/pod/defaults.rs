//! Defaults of Pod.

use model::default::{Fields, each, inside, missing, unset};
use serde_json::Value;

use crate::pod_spec::defaults::spec;

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
    inside(fields, "status");
}

/// A limit without a request is a request too.
fn requests_from_limits(resources: &mut Fields) {
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = inside(resources, "requests");
    for (name, amount) in limits {
        requests.entry(name).or_insert(amount);
    }
}

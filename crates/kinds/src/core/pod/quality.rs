//! A pod's quality-of-service class, from the resources that its containers ask for.
//! Source: Kubernetes documentation, "Pod Quality of Service Classes".

use model::{Object, Quantity};
use serde_json::Value;

/// The resources that decide.
const RESOURCES: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(crate) fn class(pod: &Object) -> &'static str {
    let amount = |of: &Value, side: &str, resource: &str| {
        Quantity::from_json(&of["resources"][side][resource]).filter(|q| !q.is_zero())
    };
    let spec = pod.get(&["spec"]).unwrap_or(&Value::Null);
    let says = |resource| ["limits", "requests"].iter().any(|side| amount(spec, side, resource).is_some());
    // What is said of the whole pod goes over what its containers say.
    let all: Vec<&Value> = if RESOURCES.iter().any(|resource| says(resource)) {
        vec![spec]
    } else {
        pod.get_list(&["spec", "containers"])
            .iter()
            .chain(pod.get_list(&["spec", "initContainers"]))
            .collect()
    };
    let mut any = false;
    let mut guaranteed = true;
    for of in all {
        for resource in RESOURCES {
            let limit = amount(of, "limits", resource);
            let request = amount(of, "requests", resource);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|r| Some(r) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(resources: Value, expected: &str) {
        let pod = json!({"spec": {"containers": [{"name": "a", "resources": resources}]}});
        assert_eq!(class(&Object::from_value(pod).expect("an object")), expected);
    }

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        check(json!({}), "BestEffort");
        check(json!({"limits": {"cpu": "0"}}), "BestEffort");
        check(json!({"requests": {"cpu": "100m"}}), "Burstable");
        check(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed");
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}),
            "Guaranteed",
        );
        check(
            json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}),
            "Burstable",
        );
    }

    #[test]
    fn what_is_said_of_the_whole_pod_goes_over_what_its_containers_say() {
        let check = |whole: Value, of_container: Value, expected: &str| {
            let containers = json!([{"name": "a", "resources": of_container}]);
            let pod = json!({"spec": {"resources": whole, "containers": containers}});
            assert_eq!(class(&Object::from_value(pod).expect("an object")), expected);
        };
        let full = || json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        check(full(), json!({"requests": {"cpu": "1m"}}), "Guaranteed");
        check(full(), json!({}), "Guaranteed");
        check(json!({"requests": {"cpu": "1"}}), full(), "Burstable");
        check(json!({}), full(), "Guaranteed");
    }
}

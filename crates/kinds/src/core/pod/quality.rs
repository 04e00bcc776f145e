//! A pod's quality-of-service class, from the resources that its containers ask for.
//! Source: Kubernetes documentation, "Pod Quality of Service Classes".

use model::{Object, Quantity};
use serde_json::Value;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub(super) fn class(pod: &Object) -> &'static str {
    let containers =
        || pod.get_list(&["spec", "containers"]).iter().chain(pod.get_list(&["spec", "initContainers"]));
    let amount = |container: &Value, side: &str, resource: &str| {
        Quantity::from_json(&container["resources"][side][resource]).filter(|q| !q.is_zero())
    };
    let mut any = false;
    let mut guaranteed = true;
    for container in containers() {
        for resource in ["cpu", "memory"] {
            let limit = amount(container, "limits", resource);
            let request = amount(container, "requests", resource);
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
}

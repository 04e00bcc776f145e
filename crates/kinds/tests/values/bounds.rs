use serde_json::{Value, json};

use crate::table::Table;

#[test]
fn limit_ranges() {
    let limits = |limit: Value| json!({"spec": {"limits": [limit]}});
    let container = |limit: Value| {
        let mut all = json!({"type": "Container"});
        for (name, value) in limit.as_object().expect("fields") {
            all[name] = value.clone();
        }
        limits(all)
    };
    let cpu = |min: &str, max: &str| container(json!({"min": {"cpu": min}, "max": {"cpu": max}}));
    Table::of(json!({
        "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "x", "namespace": "n"}, "spec": {"limits": []},
    }))
    .good(&[
        cpu("1", "2"),
        container(json!({"default": {"memory": "1Gi"}, "maxLimitRequestRatio": {"cpu": "2"}})),
        limits(json!({"type": "Pod", "max": {"cpu": "4"}})),
        limits(json!({"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}})),
        limits(json!({"type": "example.com/thing", "max": {"example.com/gpu": "1"}})),
    ])
    .bad(&[
        (
            limits(json!({"type": "Thing"})),
            &["spec.limits[0].type: Invalid value: \"Thing\": must be a standard limit type or fully qualified"],
        ),
        (
            json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}}),
            &["spec.limits[1].type: Duplicate value: \"Pod\""],
        ),
        (
            limits(json!({"type": "Pod", "default": {"cpu": "1"}})),
            &["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            limits(json!({"type": "PersistentVolumeClaim"})),
            &["spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided"],
        ),
        (
            limits(json!({"type": "Pod", "max": {"storage": "1"}})),
            &["spec.limits[0].max[storage]: Invalid value: \"storage\": must be a standard resource for containers"],
        ),
        (
            cpu("2", "1"),
            &[
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ],
        ),
        (
            container(json!({"default": {"cpu": "3"}, "max": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}})),
            &["spec.limits[0].default[cpu]: Invalid value: \"2\": default value 3 is greater than max value 2"],
        ),
        (
            container(json!({"default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}})),
            &["spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1"],
        ),
        (
            container(json!({"max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "500m"}})),
            &["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1"],
        ),
        (
            container(json!({"max": {"cpu": "2"}, "min": {"cpu": "1"}, "maxLimitRequestRatio": {"cpu": "3"}})),
            &["spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"3\": ratio 3 is greater than max/min = 2.000000"],
        ),
        (
            container(json!({"default": {"example.com/gpu": "2"}, "defaultRequest": {"example.com/gpu": "1"}})),
            &["spec.limits[0].defaultRequest[example.com/gpu]: Invalid value: \"1\": default value 2 must equal to defaultRequest value 1 in example.com/gpu"],
        ),
    ]);
}

#[test]
fn resource_quotas() {
    let hard = |name: &str, amount: &str| json!({"spec": {"hard": {name: amount}}});
    let scopes = |scopes: &[&str]| json!({"spec": {"scopes": scopes}});
    let expression = |scope: &str, operator: &str, values: &[&str]| {
        let one = json!({"scopeName": scope, "operator": operator, "values": values});
        json!({"spec": {"scopeSelector": {"matchExpressions": [one]}}})
    };
    Table::of(json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"hard": {"pods": "5"}},
    }))
    .good(&[
        hard("count/deployments.apps", "3"),
        hard("requests.example.com/gpu", "1"),
        hard("gold.storageclass.storage.k8s.io/requests.storage", "10Gi"),
        scopes(&["BestEffort", "NotTerminating"]),
        expression("PriorityClass", "In", &["high"]),
    ])
    .bad(&[
        (
            hard("apples", "1"),
            &["spec.hard[apples]: Invalid value: \"apples\": must be a standard resource type or fully qualified", "spec.hard[apples]: Invalid value: \"apples\": must be a standard resource for quota"],
        ),
        (hard("storage", "1"), &["spec.hard[storage]: Invalid value: \"storage\": must be a standard resource for quota"]),
        (hard("pods", "-1"), &["spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0"]),
        (hard("services", "1500m"), &["spec.hard[services]: Invalid value: \"1500m\": must be an integer"]),
        (
            hard("a b", "1"),
            &["spec.hard[a b]: Invalid value: \"a b\": name part must consist of", "spec.hard[a b]: Invalid value: \"a b\": must be a standard resource for quota"],
        ),
        (scopes(&["Weekly"]), &["spec.scopes: Invalid value: [\"Weekly\"]: unsupported scope"]),
        (
            json!({"spec": {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}}),
            &["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"],
        ),
        (
            scopes(&["BestEffort", "NotBestEffort"]),
            &["spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes"],
        ),
        (
            expression("PriorityClass", "In", &[]),
            &["spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"],
        ),
        (
            expression("BestEffort", "In", &["a"]),
            &["spec.scopeSelector.matchExpressions.operator: Invalid value: \"In\": must be 'Exist' when scope is any of"],
        ),
        (
            expression("PriorityClass", "Maybe", &[]),
            &["spec.scopeSelector.matchExpressions.operator: Invalid value: \"Maybe\": not a valid selector operator"],
        ),
        (
            expression("VolumeAttributesClass", "Exists", &[]),
            &["spec.scopeSelector.matchExpressions: Invalid value: {\"MatchExpressions\":[{"],
        ),
    ])
    .changes(&[
        (hard("pods", "9"), &[]),
        (scopes(&["BestEffort"]), &["spec.scopes: Invalid value: [\"BestEffort\"]: field is immutable"]),
    ])
    .part("status", &json!({}), &[(
        json!({"status": {"used": {"pods": "-1"}}}),
        &["status.used[pods]: Invalid value: \"-1\": must be greater than or equal to 0"],
    )]);
}

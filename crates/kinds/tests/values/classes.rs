use serde_json::{Value, json};

use crate::table::{Table, shows};

#[test]
fn priorities() {
    let named = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
    const RESERVED: &str = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for \
                            system use only. error: ";
    let (unknown, other, default) = (
        format!("{RESERVED}system-x is not a known system priority class"),
        format!("{RESERVED}value of system-node-critical PriorityClass must be 2000001000"),
        format!("{RESERVED}globalDefault of system-cluster-critical PriorityClass must be false"),
    );
    Table::of(json!({
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "x"}, "value": 10,
    }))
    .good(&[
        json!({"value": 1_000_000_000}),
        json!({"value": -5, "globalDefault": true}),
        json!({"preemptionPolicy": "Never"}),
        named("system-cluster-critical", 2_000_000_000),
        named("system-node-critical", 2_000_001_000),
    ])
    .bad(&[
        (
            json!({"value": 1_000_000_001}),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (named("system-x", 1), &[&unknown]),
        (named("system-node-critical", 1), &[&other]),
        (
            json!({"metadata": {"name": "system-cluster-critical"}, "value": 2_000_000_000, "globalDefault": true}),
            &[&default],
        ),
        (
            json!({"preemptionPolicy": "Sometimes"}),
            &["preemptionPolicy: Unsupported value: \"Sometimes\": supported values: \"PreemptLowerPriority\", \"Never\""],
        ),
        (json!({"preemptionPolicy": ""}), &["preemptionPolicy: Required value"]),
        (json!({"metadata": {"name": "X"}}), &["metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain"]),
        (json!({"metadata": {"name": "a_"}}), &["metadata.name: Invalid value: \"a_\": a lowercase RFC 1123"]),
        (json!({"metadata": {"namespace": "n"}}), &["metadata.namespace: Forbidden: not allowed on this type"]),
        (json!({"metadata": {"name": null}}), &["metadata.name: Required value: name or generateName is required"]),
    ])
    .changes(&[
        (json!({"description": "d", "globalDefault": true}), &[]),
        (json!({"value": 11}), &["value: Forbidden: may not be changed in an update."]),
        (
            json!({"preemptionPolicy": "Never"}),
            &["preemptionPolicy: Invalid value: \"Never\": field is immutable"],
        ),
    ]);
}

#[test]
fn runtimes() {
    let tolerates = |one: Value| json!({"scheduling": {"tolerations": [one]}});
    Table::of(json!({
        "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "x"}, "handler": "runc",
    }))
    .good(&[
        json!({"overhead": {"podFixed": {"cpu": "100m", "memory": "10Mi"}}}),
        json!({"scheduling": {"nodeSelector": {"a": "b"}}}),
        tolerates(json!({"key": "a", "operator": "Exists"})),
        json!({"handler": "kata-1"}),
        json!({"metadata": {"name": "a.b"}}),
    ])
    .bad(&[
        (json!({"handler": ""}), &["handler: Invalid value: \"\": a lowercase RFC 1123 label must consist of"]),
        (json!({"handler": "a.b"}), &["handler: Invalid value: \"a.b\": must not contain dots"]),
        (json!({"handler": "A"}), &["handler: Invalid value: \"A\": a lowercase RFC 1123 label must consist of"]),
        (json!({"handler": "a".repeat(64)}), &["handler: Invalid value: \"aaa"]),
        (
            json!({"overhead": {"podFixed": {"memory": "-1"}}}),
            &["overhead.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            json!({"scheduling": {"nodeSelector": {"a b": "b"}}}),
            &["scheduling.nodeSelector: Invalid value: \"a b\": name part must consist of"],
        ),
        (
            json!({"scheduling": {"nodeSelector": {"a": "b c"}}}),
            &["scheduling.nodeSelector: Invalid value: \"b c\": a valid label must be"],
        ),
        (
            tolerates(json!({"operator": "Equal"})),
            &["scheduling.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty"],
        ),
        (
            tolerates(json!({"key": "a", "operator": "Exists", "effect": "Now"})),
            &["scheduling.tolerations[0].effect: Unsupported value: \"Now\": supported values: "],
        ),
        (json!({"metadata": {"name": "X"}}), &["metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain"]),
    ])
    .changes(&[(json!({"handler": "kata"}), &["handler: Invalid value: \"kata\": field is immutable"])]);
}

#[test]
fn columns() {
    let whole =
        |version: &str, kind: &str| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
    let mut class = whole("scheduling.k8s.io/v1", "PriorityClass");
    class["value"] = 7.into();
    class["preemptionPolicy"] = "Never".into();
    shows(class, json!(["x", 7, false, "60m", "Never"]));
    let mut class = whole("node.k8s.io/v1", "RuntimeClass");
    class["handler"] = "h".into();
    shows(class, json!(["x", "h", "60m"]));
    let mut policy = whole("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    policy["spec"] = json!({"validations": [{}, {}], "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}});
    shows(policy, json!(["x", 2, "v1/ConfigMap", "60m"]));
    let mut binding = whole("admissionregistration.k8s.io/v1", "MutatingAdmissionPolicyBinding");
    binding["spec"] = json!({"policyName": "p", "paramRef": {"name": "n"}});
    shows(binding, json!(["x", "p", "*/n", "60m"]));
    let mut hooks = whole("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration");
    hooks["webhooks"] = json!([{}, {}, {}]);
    shows(hooks, json!(["x", 3, "60m"]));
}

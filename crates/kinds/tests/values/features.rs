//! Rules of what is off where nothing is switched.

use kinds::{Feature, Features, Gates};
use serde_json::{Value, json};

use crate::table::Table;

fn on(feature: Feature) -> Features {
    let versions = "storagemigration.k8s.io/v1beta1".parse().expect("a version");
    Features { gates: Gates::default().with(feature), versions }
}

#[test]
fn autoscalers_to_nothing() {
    let zero = |metrics: Value| json!({"spec": {"minReplicas": 0, "metrics": metrics}});
    let external = json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}});
    let pods = json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}});
    let needs = "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas";
    let table = Table::with(
        on(Feature::HpaScaleToZero),
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", "namespace": "n"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
        }),
    );
    let below = "spec.minReplicas: Invalid value: -1: must be greater than or equal to 0";
    table
        .good(&[zero(json!([external])), zero(json!([pods, external]))])
        .bad(&[
            (zero(json!([pods])), &[needs]),
            (zero(Value::Null), &[needs]),
            (json!({"spec": {"minReplicas": -1}}), &[below]),
        ])
        .changes(&[(zero(json!([pods])), &[needs])]);
    Table::with(
        on(Feature::HpaScaleToZero),
        json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", "namespace": "n"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
        }),
    )
    .bad(&[(json!({"spec": {"minReplicas": 0}}), &[needs])]);
}

#[test]
fn migrations_of_what_is_stored() {
    let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let status = |conditions: Value| json!({"status": {"conditions": conditions, "resourceVersion": "7"}});
    let version = |version: &str| json!({"status": {"resourceVersion": version}});
    let table = Table::with(
        on(Feature::StorageVersionMigrator),
        json!({
            "apiVersion": "storagemigration.k8s.io/v1beta1", "kind": "StorageVersionMigration", "metadata": {"name": "x"},
            "spec": {"resource": {"group": "g.io", "resource": "things"}},
        }),
    );
    let resource = |resource: Value| json!({"spec": {"resource": resource}});
    table
        .good(&[resource(json!({"group": null})), status(json!([condition("Running", "True")]))])
        .bad(&[
            (
                resource(json!({"resource": ""})),
                &["spec.resource.resource: Required value: resource is required"],
            ),
            (json!({"spec": null}), &["spec.resource.resource: Required value: resource is required"]),
            (json!({"metadata": {"name": "A"}}), &["metadata.name: Invalid value"]),
        ])
        .changes(&[
            (
                resource(json!({"resource": "others"})),
                &["resource: Invalid value: \"others\": field is immutable"],
            ),
            (resource(json!({"group": "h.io"})), &["group: Invalid value: \"h.io\": field is immutable"]),
        ])
        .part(
            "status",
            &json!({}),
            &[
                (status(json!([condition("Succeeded", "True"), condition("Running", "False")])), &[]),
                (
                    version("-1"),
                    &["status.resourceVersion: Invalid value: -1: must be greater than or equal to 0"],
                ),
                (
                    version("x"),
                    &["status.resourceVersion: Invalid value: \"x\": failed to parse resource version"],
                ),
                (
                    status(json!([condition("Running", "Maybe"), condition("Running", "True")])),
                    &[
                        "status.conditions[0].status: Unsupported value: \"Maybe\"",
                        "status.conditions[1].type: Duplicate value: \"Running\"",
                    ],
                ),
                (
                    status(json!([condition("Succeeded", "True"), condition("Failed", "True")])),
                    &["status.conditions: Invalid value: [{"],
                ),
                (
                    status(json!([condition("Failed", "True"), condition("Running", "True")])),
                    &["status.conditions: Invalid value: [{"],
                ),
            ],
        )
        .part(
            "status",
            &status(json!([condition("Succeeded", "True")])),
            &[
                (
                    version("8"),
                    &[
                        "status.resourceVersion: Invalid value: \"8\": cannot be updated",
                        "status.conditions: Invalid value: []: Success condition cannot be set to false",
                    ],
                ),
                (status(json!([condition("Succeeded", "False")])), &["status.conditions: Invalid value: [{"]),
            ],
        );
}

/// There are groups of pods.
fn groups() -> Features {
    let gates = Gates::default().with(Feature::GenericWorkload);
    Features { gates, versions: "scheduling.k8s.io/v1alpha2".parse().expect("a version") }
}

#[test]
fn groups_of_pods() {
    let table = Table::with(
        groups(),
        json!({
            "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "PodGroup", "metadata": {"name": "g", "namespace": "n"},
            "spec": {
                "podGroupTemplateRef": {"workload": {"workloadName": "w", "podGroupTemplateName": "t"}},
                "schedulingPolicy": {"gang": {"minCount": 3}},
            },
        }),
    );
    let policy = |policy: Value| json!({"spec": {"schedulingPolicy": policy}});
    let workload = |workload: Value| json!({"spec": {"podGroupTemplateRef": {"workload": workload}}});
    let condition = |status: &str| {
        json!({"status": {"conditions": [{"type": "PodGroupScheduled", "status": status,
        "reason": "Scheduled", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
    };
    let count = "spec.schedulingPolicy.gang.minCount: ";
    table
        .good(&[
            policy(json!({"gang": null, "basic": {}})),
            json!({"spec": {"podGroupTemplateRef": null}}),
            workload(json!({"workloadName": "w.example.org"})),
        ])
        .bad(&[
            (policy(json!({"gang": {"minCount": 0}})), &[&format!("{count}Required value")]),
            (policy(json!({"gang": {"minCount": null}})), &[&format!("{count}Required value")]),
            (
                policy(json!({"gang": {"minCount": -1}})),
                &[&format!("{count}Invalid value: -1: must be greater than or equal to 1")],
            ),
            (
                policy(json!({"gang": null})),
                &["spec.schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`"],
            ),
            (
                policy(json!({"basic": {}})),
                &["spec.schedulingPolicy: Invalid value: \"{basic, gang}\": must specify exactly one of: `basic`, `gang`"],
            ),
            (
                workload(Value::Null),
                &["spec.podGroupTemplateRef: Invalid value: \"\": must specify one of: `workload`"],
            ),
            (
                workload(json!({"workloadName": "A", "podGroupTemplateName": ""})),
                &[
                    "spec.podGroupTemplateRef.workload.workloadName: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
                    "spec.podGroupTemplateRef.workload.podGroupTemplateName: Required value",
                ],
            ),
            (
                workload(json!({"podGroupTemplateName": "a.b"})),
                &["spec.podGroupTemplateRef.workload.podGroupTemplateName: Invalid value: \"a.b\": must not contain dots"],
            ),
            (json!({"metadata": {"name": "A"}}), &["metadata.name: Invalid value"]),
        ])
        .changes(&[
            (
                policy(json!({"gang": {"minCount": 2}})),
                &["spec.schedulingPolicy: Invalid value: null: field is immutable"],
            ),
            (
                workload(json!({"workloadName": ""})),
                &["spec.podGroupTemplateRef: Invalid value: null: field is immutable"],
            ),
        ])
        .part(
            "status",
            &json!({}),
            &[
                (condition("True"), &[]),
                (condition("Maybe"), &["status.conditions[0].status: Unsupported value: \"Maybe\""]),
            ],
        );
}

#[test]
fn templates_of_groups_of_pods() {
    let template = |name: &str| json!({"name": name, "schedulingPolicy": {"gang": {"minCount": 3}}});
    let templates = |templates: &[Value]| json!({"spec": {"podGroupTemplates": templates}});
    let reference = |change: Value| json!({"spec": {"controllerRef": change}});
    let table = Table::with(
        groups(),
        json!({
            "apiVersion": "scheduling.k8s.io/v1alpha2", "kind": "Workload", "metadata": {"name": "w", "namespace": "n"},
            "spec": {
                "controllerRef": {"apiGroup": "batch", "kind": "Job", "name": "j"},
                "podGroupTemplates": [template("t")],
            },
        }),
    );
    let many: Vec<Value> = (0..9).map(|number| template(&format!("t{number}"))).collect();
    let none = "spec.podGroupTemplates: Required value";
    table
        .good(&[reference(Value::Null), reference(json!({"apiGroup": null})), templates(&many[..8])])
        .bad(&[
            (templates(&[]), &[none]),
            (json!({"spec": {"podGroupTemplates": null}}), &[none]),
            (templates(&many), &["spec.podGroupTemplates: Too many: 9: must have at most 8 items"]),
            (
                templates(&[template("t"), template("t"), template("T")]),
                &[
                    "spec.podGroupTemplates[1]: Duplicate value: ",
                    "spec.podGroupTemplates[2].name: Invalid value: \"T\": a lowercase RFC 1123 label",
                ],
            ),
            (
                templates(&[json!({"schedulingPolicy": {}})]),
                &[
                    "spec.podGroupTemplates[0].name: Required value",
                    "spec.podGroupTemplates[0].schedulingPolicy: Invalid value: \"\": must specify one of: `basic`, `gang`",
                ],
            ),
            (
                reference(json!({"apiGroup": "A", "kind": "", "name": "a/b"})),
                &[
                    "spec.controllerRef.apiGroup: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
                    "spec.controllerRef.kind: Required value",
                    "spec.controllerRef.name: Invalid value: \"a/b\": may not contain '/'",
                ],
            ),
        ])
        .changes(&[
            (templates(&[template("u")]), &["spec.podGroupTemplates: Invalid value: null: field is immutable"]),
            (reference(Value::Null), &["spec.controllerRef: Invalid value: null: field is immutable"]),
        ]);
}

#[test]
fn the_group_of_a_pod() {
    let group = |group: Value| json!({"spec": {"schedulingGroup": group}});
    let table = Table::with(
        groups(),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n"}, "spec": {
            "containers": [{"name": "c", "image": "i"}], "schedulingGroup": {"podGroupName": "g"}}}),
    );
    table
        .good(&[group(json!({"podGroupName": "g.example.org"})), group(Value::Null)])
        .bad(&[
            (
                group(json!({"podGroupName": null})),
                &["spec.schedulingGroup: Invalid value: \"\": must specify one of: `podGroupName`"],
            ),
            (
                group(json!({"podGroupName": "G"})),
                &["spec.schedulingGroup.podGroupName: Invalid value: \"G\": a lowercase RFC 1123 subdomain"],
            ),
        ])
        .changes(&[
            (
                group(json!({"podGroupName": "h"})),
                &["spec: Forbidden: pod updates may not change fields other than"],
            ),
            (group(Value::Null), &["spec: Forbidden: pod updates may not change fields other than"]),
        ]);
}

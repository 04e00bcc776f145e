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

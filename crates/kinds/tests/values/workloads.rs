use serde_json::{Value, json};

use crate::table::Table;

fn template() -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}})
}

fn workload(version: &str, kind: &str, selector: Value) -> Table {
    Table::of(json!({
        "apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": "n"},
        "spec": {"selector": selector, "template": template()},
    }))
}

const MISMATCH: &str = "spec.template.metadata.labels: Invalid value: {\"app\":\"web\"}: `selector` does not match template `labels`";

#[test]
fn replication_controllers() {
    let disk = |read_only: bool| {
        let disk = json!({"pdName": "p", "readOnly": read_only});
        json!({"spec": {"replicas": 2, "template": {"spec": {"volumes": [{"name": "v", "gcePersistentDisk": disk}]}}}})
    };
    workload("v1", "ReplicationController", json!({"app": "web"}))
        .good(&[
            json!({"spec": {"selector": null}}),
            json!({"spec": {"replicas": 0}}),
            json!({"spec": {"minReadySeconds": 5}}),
            json!({"spec": {"template": {"metadata": {"labels": {"more": "m"}}}}}),
            disk(true),
        ])
        .bad(&[
            (json!({"spec": {"replicas": -1}}), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
            (
                json!({"spec": {"minReadySeconds": -1}}),
                &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (json!({"spec": {"selector": {"app": "db"}}}), &[MISMATCH]),
            (json!({"spec": {"template": null}}), &["spec.template: Required value"]),
            (
                json!({"spec": {"selector": null, "template": {"metadata": null}}}),
                &["spec.selector: Required value"],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            ),
            (
                json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
                &["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported"],
            ),
            (
                disk(false),
                &["spec.template.spec.volumes[0].gcePersistentDisk.readOnly: Invalid value: false: must be read-only for replicated pods > 1"],
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": []}}}}),
                &["spec.template.spec.containers: Required value"],
            ),
            (json!({"metadata": {"name": "X"}}), &["metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain"]),
        ])
        .part("status", &json!({}), &[
            (
                json!({"status": {"observedGeneration": -1}}),
                &["status.observedGeneration: Invalid value: -1: must be greater"],
            ),
            (
                json!({"status": {"replicas": 1, "readyReplicas": 2}}),
                &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
            ),
        ]);
}

#[test]
fn pod_templates() {
    let table = Table::of(json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x", "namespace": "n"}, "template": template(),
    }));
    let container = |change: Value| {
        let mut container = json!({"name": "a", "image": "i"});
        for (name, value) in change.as_object().expect("fields") {
            container[name] = value.clone();
        }
        json!({"template": {"spec": {"containers": [container]}}})
    };
    table
        .good(&[
            json!({"template": {"metadata": null}}),
            json!({"template": {"spec": {"restartPolicy": "Never"}}}),
            json!({"template": {"spec": {"activeDeadlineSeconds": 5}}}),
            container(json!({"ports": [{"containerPort": 80}]})),
            json!({"template": {"spec": {"nodeSelector": {"a": "b"}}}}),
        ])
        .bad(&[
            (json!({"template": {"spec": {"containers": []}}}), &["template.spec.containers: Required value"]),
            (container(json!({"name": ""})), &["template.spec.containers[0].name: Required value"]),
            (container(json!({"image": ""})), &["template.spec.containers[0].image: Required value"]),
            (
                container(json!({"ports": [{"containerPort": 0}]})),
                &["template.spec.containers[0].ports[0].containerPort: Required value"],
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Maybe"}}}),
                &["template.spec.restartPolicy: Unsupported value: \"Maybe\""],
            ),
            (
                json!({"template": {"spec": {"dnsPolicy": "Maybe"}}}),
                &["template.spec.dnsPolicy: Unsupported value: \"Maybe\""],
            ),
            (
                json!({"template": {"spec": {"activeDeadlineSeconds": 0}}}),
                &["template.spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
            ),
            (
                json!({"template": {"spec": {"volumes": [{"name": ""}]}}}),
                &["template.spec.volumes[0].name: Required value"],
            ),
            (
                container(json!({"imagePullPolicy": "Maybe"})),
                &["template.spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\""],
            ),
            (
                container(json!({"resources": {"requests": {"cpu": "-1"}}})),
                &["template.spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
        ]);
}

#[test]
fn daemon_sets() {
    let strategy = |strategy: Value| json!({"spec": {"updateStrategy": strategy}});
    let rolling = |rolling: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": rolling}}});
    workload("apps/v1", "DaemonSet", json!({"matchLabels": {"app": "web"}}))
        .good(&[
            strategy(json!({"type": "OnDelete"})),
            rolling(json!({"maxUnavailable": "10%"})),
            rolling(json!({"maxUnavailable": 0, "maxSurge": "50%"})),
            json!({"spec": {"minReadySeconds": 5, "revisionHistoryLimit": 0}}),
            json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}),
        ])
        .bad(&[
            (json!({"spec": {"selector": null}}), &[MISMATCH]),
            (
                json!({"spec": {"selector": {"matchLabels": null}}}),
                &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
            ),
            (json!({"spec": {"selector": {"matchLabels": {"app": "db"}}}}), &[MISMATCH]),
            (
                strategy(json!({"type": "Other"})),
                &["spec.updateStrategy: Unsupported value: {\"Type\":\"Other\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\""],
            ),
            (
                rolling(json!({"maxUnavailable": 0})),
                &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
            ),
            (
                rolling(json!({"maxSurge": 1})),
                &["spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"],
            ),
            (
                rolling(json!({"maxUnavailable": "200%"})),
                &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"200%\": must not be greater than 100%"],
            ),
            (
                rolling(json!({"maxUnavailable": -1})),
                &["spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
                &["spec.template.spec.restartPolicy: Unsupported value: \"Never\""],
            ),
            (
                json!({"spec": {"revisionHistoryLimit": -1}}),
                &["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ])
        .changes(&[(
            json!({"spec": {
                "selector": {"matchLabels": {"app": "db"}}, "template": {"metadata": {"labels": {"app": "db"}}},
            }}),
            &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"db\"}}: field is immutable"],
        )])
        .part("status", &json!({"status": {"collisionCount": 2}}), &[
            (
                json!({"status": {"numberReady": -1, "collisionCount": 2}}),
                &["status.numberReady: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"status": {"collisionCount": 1}}),
                &["status.collisionCount: Invalid value: 1: cannot be decremented"],
            ),
        ]);
}

#[test]
fn stateful_sets() {
    const FIXED: &str =
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals'";
    let claim = json!([{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}]);
    workload("apps/v1", "StatefulSet", json!({"matchLabels": {"app": "web"}}))
        .good(&[
            json!({"spec": {"podManagementPolicy": "Parallel", "serviceName": "s"}}),
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 3}}}}),
            json!({"spec": {"volumeClaimTemplates": claim}}),
            json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete"}, "ordinals": {"start": 3}}}),
        ])
        .bad(&[
            (
                json!({"spec": {"podManagementPolicy": "Other"}}),
                &["spec.podManagementPolicy: Invalid value: \"Other\": must be 'OrderedReady' or 'Parallel'"],
            ),
            (
                json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}}}),
                &["spec.updateStrategy.rollingUpdate: Invalid value: {\"Partition\":1,\"MaxUnavailable\":null}: only allowed for updateStrategy 'RollingUpdate'"],
            ),
            (
                json!({"spec": {"updateStrategy": {"type": "Other"}}}),
                &["spec.updateStrategy: Invalid value: {\"Type\":\"Other\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'"],
            ),
            (
                json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": -1}}}}),
                &["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}}}),
                &["spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\""],
            ),
            (json!({"spec": {"replicas": -1}}), &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
            (
                json!({"spec": {"ordinals": {"start": -1}}}),
                &["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (json!({"spec": {"selector": null}}), &["spec.selector: Required value"]),
            (
                json!({"spec": {"selector": {"matchLabels": null}}}),
                &["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"],
            ),
            (json!({"spec": {"selector": {"matchLabels": {"app": "db"}}}}), &[MISMATCH]),
            (
                json!({"spec": {"template": {"spec": {"activeDeadlineSeconds": 5}}}}),
                &["spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in StatefulSet is not Supported"],
            ),
            (json!({"metadata": {"name": "a.b"}}), &["metadata.name: Invalid value: \"a.b\": must not contain dots"]),
        ])
        .changes(&[
            (json!({"spec": {"replicas": 3, "minReadySeconds": 1, "revisionHistoryLimit": 1}}), &[]),
            (json!({"spec": {"serviceName": "s"}}), &[FIXED]),
            (json!({"spec": {"volumeClaimTemplates": claim}}), &[FIXED]),
        ])
        .part("status", &json!({}), &[(
            json!({"status": {"replicas": 2, "readyReplicas": 1, "availableReplicas": 2}}),
            &["status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"],
        )]);
}

#[test]
fn controller_revisions() {
    Table::of(json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "x", "namespace": "n"},
        "data": {"a": 1}, "revision": 1,
    }))
    .good(&[
        json!({"revision": 0}),
        json!({"data": {"b": {"c": []}}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"name": "a.b"}}),
        json!({"revision": 5}),
    ])
    .bad(&[
        (json!({"data": null}), &["data: Required value: data is mandatory"]),
        (json!({"revision": -1}), &["revision: Invalid value: -1: must be greater than or equal to 0"]),
        (json!({"metadata": {"name": "X"}}), &["metadata.name: Invalid value: \"X\""]),
        (json!({"metadata": {"name": "-x"}}), &["metadata.name: Invalid value: \"-x\""]),
        (json!({"metadata": {"name": null}}), &["metadata.name: Required value"]),
        (json!({"metadata": {"namespace": null}}), &["metadata.namespace: Required value"]),
        (json!({"metadata": {"namespace": "N"}}), &["metadata.namespace: Invalid value: \"N\""]),
        (
            json!({"metadata": {"labels": {"": "b"}}}),
            &["metadata.labels: Invalid value: \"\"", "metadata.labels: Invalid value: \"\""],
        ),
        (json!({"metadata": {"labels": {"a": "b c"}}}), &["metadata.labels: Invalid value: \"b c\""]),
        (json!({"data": null, "revision": -2}), &["data: Required value", "revision: Invalid value: -2"]),
    ])
    .changes(&[
        (json!({"revision": 2}), &[]),
        (json!({"data": {"a": 2}}), &["data: Invalid value: {\"a\":2}: field is immutable"]),
    ]);
}

#[test]
fn budgets() {
    let spec = |spec: Value| json!({ "spec": spec });
    Table::of(json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
    }))
    .good(&[
        spec(json!({"minAvailable": 1})),
        spec(json!({"maxUnavailable": "50%"})),
        spec(json!({"minAvailable": "100%"})),
        spec(json!({"selector": null})),
        spec(json!({"unhealthyPodEvictionPolicy": "AlwaysAllow"})),
    ])
    .bad(&[
        (
            spec(json!({"minAvailable": 1, "maxUnavailable": 1})),
            &["spec: Invalid value: {\"MinAvailable\":1,\"Selector\":{\"matchLabels\":{\"app\":\"web\"}},\"MaxUnavailable\":1,\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable cannot be both set"],
        ),
        (spec(json!({"minAvailable": -1})), &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"]),
        (spec(json!({"maxUnavailable": -1})), &["spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"]),
        (spec(json!({"minAvailable": "a"})), &["spec.minAvailable: Invalid value: \"a\": a valid percent string must be"]),
        (spec(json!({"minAvailable": "101%"})), &["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"]),
        (
            spec(json!({"maxUnavailable": "99999999999999999999%"})),
            &["spec.maxUnavailable: Invalid value: \"99999999999999999999%\": must not be greater than 100%"],
        ),
        (spec(json!({"maxUnavailable": "-5%"})), &["spec.maxUnavailable: Invalid value: \"-5%\": a valid percent string"]),
        (
            spec(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}})),
            &["spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            spec(json!({"selector": {"matchLabels": {"app": "a b"}}})),
            &["spec.selector.matchLabels: Invalid value: \"a b\""],
        ),
        (
            spec(json!({"unhealthyPodEvictionPolicy": "Maybe"})),
            &["spec.unhealthyPodEvictionPolicy: Unsupported value: \"Maybe\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\""],
        ),
    ])
    .part("status", &json!({}), &[
        (
            json!({"status": {"currentHealthy": -1}}),
            &["status.currentHealthy: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"status": {"conditions": [{"type": "A", "status": "Maybe", "reason": "-", "message": ""}]}}),
            &[
                "status.conditions[0].status: Unsupported value: \"Maybe\"",
                "status.conditions[0].lastTransitionTime: Required value: must be set",
                "status.conditions[0].reason: Invalid value: \"-\": a condition reason must start",
            ],
        ),
    ]);
}

#[test]
fn autoscalers() {
    const POSITIVE: &str = "must be greater than 0";
    let spec = |spec: Value| json!({ "spec": spec });
    let metrics = |metric: Value| json!({"spec": {"metrics": [metric]}});
    let resource =
        |target: Value| metrics(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    let table = Table::of(json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    }));
    table
        .good(&[
            spec(json!({"minReplicas": 3})),
            resource(json!({"type": "AverageValue", "averageValue": "100m"})),
            metrics(json!({"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "1"}}})),
            metrics(json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}})),
            spec(json!({"behavior": {"scaleUp": {"selectPolicy": "Disabled"}, "scaleDown": {"tolerance": "0.1"}}})),
        ])
        .bad(&[
            (spec(json!({"minReplicas": 0})), &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"]),
            (
                spec(json!({"maxReplicas": 0})),
                &["spec.maxReplicas: Invalid value: 0: must be greater than 0", "spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`"],
            ),
            (
                spec(json!({"minReplicas": 4})),
                &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
            ),
            (
                spec(json!({"scaleTargetRef": {"kind": "", "name": "a/b"}})),
                &["spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'"],
            ),
            (
                metrics(json!({"type": "Other"})),
                &["spec.metrics[0].type: Unsupported value: \"Other\": supported values: \"ContainerResource\", \"External\"", "spec.metrics[0].type: Unsupported value: \"Other\""],
            ),
            (
                metrics(json!({"type": "Pods"})),
                &["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
            ),
            (
                resource(json!({"type": "Utilization", "averageUtilization": 0})),
                &["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"],
            ),
            (
                resource(json!({"type": "Utilization", "averageUtilization": 50, "averageValue": "1"})),
                &["spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization"],
            ),
            (
                resource(json!({"type": "Half"})),
                &["spec.metrics[0].resource.target.type: Invalid value: \"Half\": must be either Utilization, Value, or AverageValue", "spec.metrics[0].resource.target.averageUtilization: Required value"],
            ),
            (
                spec(json!({"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]}}})),
                &["spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero", "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800"],
            ),
            (
                spec(json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 3601}}})),
                &["spec.behavior.scaleDown.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600"],
            ),
            (
                spec(json!({"behavior": {"scaleDown": {"tolerance": "-1"}}})),
                &["spec.behavior.scaleDown.tolerance: Invalid value: \"-1\": must be greater than or equal to 0"],
            ),
        ])
        .part("status", &json!({}), &[(
            json!({"status": {"desiredReplicas": -1}}),
            &["status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"],
        )]);
    let other = |kind: &str| {
        format!("[{{\"type\":\"Resource\",\"resource\":{{\"name\":\"memory\",\"{kind}\":50}}}}]")
    };
    let annotated = |text: String| json!({"metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": text}}});
    let percent = |percent: i64| json!({"spec": {"targetCPUUtilizationPercentage": percent}});
    Table::of(json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    }))
    .good(&[
        percent(50),
        percent(500),
        spec(json!({"minReplicas": 1})),
        annotated(other("targetAverageUtilization")),
        annotated("[".to_owned()),
    ])
    .bad(&[
        (percent(0), &["spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0"]),
        (spec(json!({"minReplicas": 0})), &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"]),
        (spec(json!({"minReplicas": -1})), &["spec.minReplicas: Invalid value: -1: must be greater than or equal to 1"]),
        (spec(json!({"maxReplicas": -1})), &[&format!("spec.maxReplicas: Invalid value: -1: {POSITIVE}"), "spec.maxReplicas: Invalid value: -1"]),
        (spec(json!({"minReplicas": 9})), &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"]),
        (spec(json!({"scaleTargetRef": {"name": ""}})), &["spec.scaleTargetRef.name: Required value"]),
        (spec(json!({"scaleTargetRef": {"kind": "."}})), &["spec.scaleTargetRef.kind: Invalid value: \".\": may not be '.'"]),
        (spec(json!({"scaleTargetRef": {"name": "a%b"}})), &["spec.scaleTargetRef.name: Invalid value: \"a%b\": may not contain '%'"]),
        (
            annotated(other("other")),
            &["spec.metrics[0].resource.target.type: Required value", "spec.metrics[0].resource.target.type: Invalid value", "spec.metrics[0].resource.target.averageUtilization: Required value"],
        ),
        (
            annotated("[{\"type\":\"Pods\"}]".to_owned()),
            &["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
        ),
    ]);
}

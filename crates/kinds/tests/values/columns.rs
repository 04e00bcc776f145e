use apiserver::table::{Include, ListMetadata, table};
use base::Timestamp;
use model::Object;
use serde_json::{Value, json};

use crate::resource;

fn now() -> Timestamp {
    model::time::parse("2026-01-01T01:00:00Z").expect("valid")
}

/// The cells of an object made an hour ago.
fn cells(version: &str, kind: &str, fields: Value) -> Vec<Value> {
    let mut document = json!({
        "apiVersion": version, "kind": kind,
        "metadata": {"name": "x", "creationTimestamp": "2026-01-01T00:00:00Z"},
    });
    for (name, value) in fields.as_object().expect("fields") {
        match (document.get_mut(name).and_then(Value::as_object_mut), value) {
            (Some(known), Value::Object(more)) => known.extend(more.clone()),
            _ => document[name] = value.clone(),
        }
    }
    let object = Object::from_value(document).expect("an object");
    let table = table(
        &resource(object.api_version(), object.kind()).columns,
        [&object],
        &ListMetadata::default(),
        Include::None,
        true,
        now(),
    );
    let cells = table["rows"][0]["cells"].as_array().expect("cells").clone();
    assert_eq!(
        table["columnDefinitions"].as_array().map(Vec::len),
        Some(cells.len()),
        "a cell for every column"
    );
    cells
}

fn check(version: &str, kind: &str, fields: Value, expected: Value) {
    assert_eq!(Value::Array(cells(version, kind, fields.clone())), expected, "{kind} {fields}");
}

/// Ready, status and restarts of a pod.
fn check_pod(fields: Value, expected: [&str; 3]) {
    let cells = cells("v1", "Pod", fields.clone());
    let shown: Vec<&str> = cells[1..4].iter().map(|cell| cell.as_str().expect("a text")).collect();
    assert_eq!(shown, expected, "{fields}");
}

#[test]
fn pods_say_in_a_word_what_they_do() {
    let spec = json!({"containers": [{"name": "a"}]});
    let with = |status: Value| json!({"spec": spec, "status": status});
    check_pod(with(json!({"phase": "Pending"})), ["0/1", "Pending", "0"]);
    check_pod(
        with(
            json!({"phase": "Running", "containerStatuses": [{"name": "a", "ready": true, "state": {"running": {}}}]}),
        ),
        ["1/1", "Running", "0"],
    );
    check_pod(
        with(json!({"phase": "Running", "containerStatuses": [{
            "name": "a", "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:59:55Z"}},
        }]})),
        ["0/1", "CrashLoopBackOff", "3 (5s ago)"],
    );
    check_pod(
        with(
            json!({"phase": "Succeeded", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
        ),
        ["0/1", "Completed", "0"],
    );
    check_pod(
        with(
            json!({"phase": "Failed", "containerStatuses": [{"name": "a", "state": {"terminated": {"exitCode": 3}}}]}),
        ),
        ["0/1", "ExitCode:3", "0"],
    );
    check_pod(with(json!({"phase": "Failed", "reason": "Evicted"})), ["0/1", "Evicted", "0"]);
    check_pod(
        json!({"spec": spec, "metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}, "status": {"phase": "Running"}}),
        ["0/1", "Terminating", "0"],
    );
}

#[test]
fn pods_show_how_far_their_init_containers_are() {
    let spec = json!({"initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}], "containers": [{"name": "a"}]});
    let init = |states: Value| json!({"spec": spec, "status": {"phase": "Pending", "initContainerStatuses": states}});
    check_pod(
        init(json!([{"name": "i", "state": {"waiting": {"reason": "PodInitializing"}}}])),
        ["0/2", "Init:0/2", "0"],
    );
    check_pod(
        init(json!([{"name": "i", "state": {"waiting": {"reason": "ErrImagePull"}}}])),
        ["0/2", "Init:ErrImagePull", "0"],
    );
    check_pod(
        init(
            json!([{"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
        ),
        ["0/2", "Init:Error", "1"],
    );
    check_pod(
        init(json!([
            {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 0}}},
            {"name": "s", "started": true, "ready": true, "state": {"running": {}}},
        ])),
        ["1/2", "Pending", "0"],
    );
}

#[test]
fn workloads_count_their_pods() {
    let spec = json!({
        "replicas": 3, "selector": {"matchLabels": {"app": "web"}},
        "template": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}},
    });
    check(
        "apps/v1",
        "Deployment",
        json!({"spec": spec, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}),
        json!(["x", "2/3", 3, 1, "60m", "a,b", "i,j", "app=web"]),
    );
    check(
        "apps/v1",
        "ReplicaSet",
        json!({"spec": spec, "status": {"replicas": 3}}),
        json!(["x", 3, 3, 0, "60m", "a,b", "i,j", "app=web"]),
    );
}

#[test]
fn services_show_where_they_are_reached() {
    let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 30053, "protocol": "UDP"}]);
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "ports": ports, "selector": {"b": "2", "a": "1"}}}),
        json!(["x", "NodePort", "10.0.0.1", "<none>", "80/TCP,53:30053/UDP", "60m", "a=1,b=2"]),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1"}}),
        json!(["x", "LoadBalancer", "10.0.0.1", "<pending>", "<none>", "60m", "<none>"]),
    );
    check(
        "v1",
        "Service",
        json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}),
        json!(["x", "ExternalName", "<none>", "example.com", "<none>", "60m", "<none>"]),
    );
}

#[test]
fn other_kinds_have_their_columns() {
    check(
        "v1",
        "Node",
        json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "worker"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1"},
            },
        }),
        json!([
            "x",
            "Ready,SchedulingDisabled",
            "control-plane,worker",
            "60m",
            "v1.36.0",
            "10.1.1.1",
            "<none>",
            "Debian",
            "6.1",
            "<unknown>",
        ]),
    );
    check("v1", "Namespace", json!({"status": {"phase": "Active"}}), json!(["x", "Active", "60m"]));
    check("v1", "ConfigMap", json!({"data": {"a": ""}, "binaryData": {"b": ""}}), json!(["x", 2, "60m"]));
    check("v1", "Secret", json!({"type": "Opaque", "data": {"a": ""}}), json!(["x", "Opaque", 1, "60m"]));
    check("v1", "ServiceAccount", json!({}), json!(["x", 0, "60m"]));
    check(
        "v1",
        "Endpoints",
        json!({"subsets": [{"addresses": [{"ip": "a"}, {"ip": "b"}], "ports": [{"port": 1}, {"port": 2}]}]}),
        json!(["x", "a:1,a:2,b:1 + 1 more...", "60m"]),
    );
    check(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        json!(["x", "IPv4", "80", "10.0.0.1", "60m"]),
    );
    check(
        "coordination.k8s.io/v1",
        "Lease",
        json!({"spec": {"holderIdentity": "me"}}),
        json!(["x", "me", "60m"]),
    );
    check("example.com/v1", "Thing", json!({}), json!(["x", "60m"]));
}

#[test]
fn events_say_when_what_and_to_whom() {
    check(
        "v1",
        "Event",
        json!({
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:58:00Z", "count": 4,
            "type": "Warning", "reason": "BackOff", "message": "again \n",
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "source": {"component": "agent", "host": "n"},
        }),
        json!([
            "2m",
            "Warning",
            "BackOff",
            "pod/p",
            "spec.containers{a}",
            "agent, n",
            "again",
            "60m",
            4,
            "x"
        ]),
    );
    check(
        "events.k8s.io/v1",
        "Event",
        json!({
            "eventTime": "2026-01-01T00:59:00.000000Z", "type": "Normal", "reason": "R", "note": "n",
            "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "c",
        }),
        json!(["60s", "Normal", "R", "pod/p", "", "c", "n", "60s", 1, "x"]),
    );
}

#[test]
fn rows_hold_as_much_of_the_object_as_is_asked_for() {
    let object = Object::from_value(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "status": {"phase": "Failed"},
    }))
    .expect("an object");
    let row = |include: Include| {
        let metadata = ListMetadata { resource_version: "7".into(), ..ListMetadata::default() };
        let table = table(
            &resource(object.api_version(), object.kind()).columns,
            [&object],
            &metadata,
            include,
            false,
            now(),
        );
        assert_eq!(
            (&table["metadata"], &table["columnDefinitions"]),
            (&json!({"resourceVersion": "7"}), &json!([]))
        );
        table["rows"][0].clone()
    };
    assert_eq!(row(Include::Object)["object"], *object.value());
    assert_eq!(row(Include::None)["object"], Value::Null);
    assert_eq!(
        row(Include::Metadata)["object"],
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "x"}})
    );
    assert_eq!(row(Include::None)["conditions"][0]["type"], "Completed");
}

#[test]
fn bounds_and_storage_are_shown_as_what_there_is_of_what_may_be() {
    check(
        "v1",
        "ResourceQuota",
        json!({"status": {
            "hard": {"pods": "5", "limits.cpu": "4", "requests.cpu": "2"}, "used": {"pods": "1", "requests.cpu": "500m"},
        }}),
        json!(["x", "pods: 1/5, requests.cpu: 500m/2", "limits.cpu: 0/4", "60m"]),
    );
    check("v1", "LimitRange", json!({}), json!(["x", "2026-01-01T00:00:00Z"]));
    let spec = json!({
        "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "gold", "volumeMode": "Filesystem",
        "claimRef": {"namespace": "n", "name": "c"},
    });
    check(
        "v1",
        "PersistentVolume",
        json!({"spec": spec, "status": {"phase": "Bound"}}),
        json!(["x", "1Gi", "RWO,RWX", "Retain", "Bound", "n/c", "gold", "<unset>", "", "60m", "Filesystem"]),
    );
    let spec = json!({"volumeName": "v", "volumeMode": "Block"});
    let status = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"]});
    check(
        "v1",
        "PersistentVolumeClaim",
        json!({"spec": spec, "status": status, "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
        json!(["x", "Terminating", "v", "1Gi", "ROX", "", "<unset>", "60m", "Block"]),
    );
}

#[test]
fn workloads_are_shown_with_how_far_they_are() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "i"}], "nodeSelector": {"b": "c"}}});
    check(
        "v1",
        "ReplicationController",
        json!({"spec": {"replicas": 3, "selector": {"app": "web"}, "template": template}, "status": {"replicas": 2, "readyReplicas": 1}}),
        json!(["x", 3, 2, 1, "60m", "a", "i", "app=web"]),
    );
    check(
        "apps/v1",
        "DaemonSet",
        json!({"spec": {"template": template}, "status": {"desiredNumberScheduled": 2, "numberReady": 1}}),
        json!(["x", 2, 0, 1, 0, 0, "b=c", "60m", "a", "i", "<none>"]),
    );
    check(
        "apps/v1",
        "StatefulSet",
        json!({"spec": {"replicas": 3, "template": template}, "status": {"readyReplicas": 1}}),
        json!(["x", "1/3", "60m", "a", "i"]),
    );
    let owner = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u", "controller": true}]);
    check(
        "apps/v1",
        "ControllerRevision",
        json!({"metadata": {"ownerReferences": owner}, "revision": 4}),
        json!(["x", "statefulset.apps/s", 4, "60m"]),
    );
    let conditions =
        json!([{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]);
    check(
        "batch/v1",
        "Job",
        json!({"spec": {"completions": 1, "template": template}, "status": {
            "succeeded": 1, "conditions": conditions, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:09Z",
        }}),
        json!(["x", "Complete", "1/1", "9s", "60m", "a", "i", "<none>"]),
    );
    check(
        "batch/v1",
        "CronJob",
        json!({"spec": {"schedule": "@hourly", "suspend": false, "jobTemplate": {"spec": {"template": template}}}, "status": {
            "active": [{}], "lastScheduleTime": "2026-01-01T00:30:00Z",
        }}),
        json!(["x", "@hourly", "<none>", "False", 1, "30m", "60m", "a", "i", "<none>"]),
    );
    check(
        "policy/v1",
        "PodDisruptionBudget",
        json!({"spec": {"minAvailable": 1}}),
        json!(["x", "1", "N/A", 0, "60m"]),
    );
    check(
        "v1",
        "PodTemplate",
        json!({"template": {"metadata": {"labels": {"d": "e"}}, "spec": template["spec"]}}),
        json!(["x", "a", "i", "d=e"]),
    );
}

#[test]
fn autoscalers_show_what_is_and_what_is_to_be() {
    let metric =
        |name: &str, target: Value| json!({"type": "Resource", "resource": {"name": name, "target": target}});
    let metrics = json!([
        metric("cpu", json!({"averageUtilization": 80})), metric("memory", json!({"averageValue": "1Gi"})),
        {"type": "External", "external": {"target": {"value": "3"}}},
    ]);
    let current = json!([metric("cpu", json!({}))]);
    let mut current = current;
    current[0]["resource"]["current"] = json!({"averageUtilization": 12});
    let spec =
        json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}, "minReplicas": 1, "maxReplicas": 3});
    let mut v2 = spec.clone();
    v2["metrics"] = metrics;
    check(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        json!({"spec": v2, "status": {"currentReplicas": 2, "currentMetrics": current}}),
        json!(["x", "Deployment/d", "cpu: 12%/80%, memory: <unknown>/1Gi + 1 more...", "1", "3", 2, "60m"]),
    );
    let mut v1 = spec;
    v1["targetCPUUtilizationPercentage"] = json!(50);
    check(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"spec": v1, "status": {"currentReplicas": 2, "currentCPUUtilizationPercentage": 5}}),
        json!(["x", "Deployment/d", "cpu: 5%/50%", "1", "3", 2, "60m"]),
    );
}

//! One small object of each kind.

use apiserver::Resource;
use serde_json::{Value, json};

/// A request for a certificate, in PEM, as base64.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIc01JR1NBZ0VBTURBeEZUQVRCZ05WQkFvTURITjVjM1JsYlRwdWIyUmxjekVYTUJVR0ExVUVBd3dPYzNsegpkR1Z0T201dlpHVTZiakV3V1RBVEJnY3Foa2pPUFFJQkJnZ3Foa2pPUFFNQkJ3TkNBQVJUZmJaZUpHRXArb0IyCnNodWREemRNN2N0OTk0UWllOGtuaDdkbXhzbmpYMGZ2RW9kdFNFWGtxQzNWVFVTdHpFKzRwTThDT2ZjYVhRdlgKeXFuZ0NhU3BvQUF3Q2dZSUtvWkl6ajBFQXdJRFNRQXdSZ0loQVBhQWJweXNrSGNSQlJCSHZ4RE4vaFNCYUsycwpPTDBacHpNQzFYZi9qdjJnQWlFQXZNV1puRW1HTFdGREtVeVV4UjNZRTEvRWxDWkQwLzhzV285VEVKMXA2YTg9Ci0tLS0tRU5EIENFUlRJRklDQVRFIFJFUVVFU1QtLS0tLQo=";

/// An object with what its kind asks for and nothing else.
pub(super) fn object(resource: &Resource) -> Value {
    let mut object = fields(&resource.group, &resource.kind);
    object["apiVersion"] = resource.api_version().into();
    object["kind"] = resource.kind.as_str().into();
    if object["metadata"].is_null() {
        object["metadata"] = json!({"name": "one"});
    }
    object
}

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
}

fn selected(more: Value) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template()});
    for (name, value) in more.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    json!({ "spec": spec })
}

fn job() -> Value {
    let mut template = template();
    template["spec"]["restartPolicy"] = "Never".into();
    json!({ "template": template })
}

fn fields(group: &str, kind: &str) -> Value {
    match (group, kind) {
        ("", "ConfigMap" | "LimitRange" | "Namespace" | "ResourceQuota" | "Secret" | "ServiceAccount") => {
            json!({})
        }
        ("", "Node") => json!({"status": {"capacity": {"cpu": "1"}}}),
        ("", "Endpoints") => json!({
            "subsets": [{"addresses": [{"ip": "10.1.2.3"}], "ports": [{"name": "p", "port": 80}]}],
        }),
        ("", "Event") => json!({
            "metadata": {"name": "one", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "count": 1,
        }),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => json!({
            "metadata": {"name": "ones.example.com"},
            "spec": {
                "group": "example.com", "scope": "Cluster", "names": {"plural": "ones", "kind": "One"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}},
                }],
            },
        }),
        ("", "Pod") => json!({"spec": {"containers": [{"name": "c", "image": "i"}]}}),
        ("", "PodTemplate") => json!({"template": template()}),
        ("", "ReplicationController") => json!({"spec": {"selector": {"a": "b"}, "template": template()}}),
        ("", "Service") => json!({"spec": {"ports": [{"port": 80}]}}),
        ("", "PersistentVolume") => json!({
            "spec": {
                "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/a"},
            },
        }),
        ("", "PersistentVolumeClaim") => json!({
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }),
        ("apiregistration.k8s.io", _) => json!({
            "metadata": {"name": "v1.one.example.com"},
            "spec": {"group": "one.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10},
        }),
        ("apps", "ControllerRevision") => json!({"revision": 1, "data": {"a": 1}}),
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet") => selected(json!({})),
        ("apps", "StatefulSet") => selected(json!({"serviceName": "s"})),
        ("autoscaling", _) => json!({
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}, "maxReplicas": 2},
        }),
        ("batch", "Job") => json!({"spec": job()}),
        ("batch", "CronJob") => json!({"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job()}}}),
        ("certificates.k8s.io", _) => json!({
            "spec": {"request": REQUEST, "signerName": "example.com/a", "usages": ["client auth"]},
        }),
        ("coordination.k8s.io", _) => json!({"spec": {"holderIdentity": "h"}}),
        ("discovery.k8s.io", _) => json!({
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}],
        }),
        ("events.k8s.io", _) => json!({
            "metadata": {"name": "other", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z",
            "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "action": "A",
            "type": "Normal", "reportingController": "example.com/c", "reportingInstance": "i",
        }),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => json!({
            "spec": {"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 7},
        }),
        ("flowcontrol.apiserver.k8s.io", _) => json!({
            "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Queue", "queuing": {}}}},
        }),
        ("networking.k8s.io", "Ingress") => json!({
            "spec": {"rules": [{"http": {"paths": [{
                "path": "/", "pathType": "Exact", "backend": {"service": {"name": "s", "port": {"name": "http"}}},
            }]}}]},
        }),
        ("networking.k8s.io", "IngressClass") => json!({"spec": {"controller": "example.com/c"}}),
        ("networking.k8s.io", "IPAddress") => json!({
            "metadata": {"name": "10.9.8.7"},
            "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}},
        }),
        ("networking.k8s.io", "NetworkPolicy") => json!({
            "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "egress": [{"ports": [{"port": 80, "endPort": 90}]}]},
        }),
        ("networking.k8s.io", "ServiceCIDR") => json!({"spec": {"cidrs": ["10.9.0.0/16"]}}),
        ("node.k8s.io", _) => json!({"handler": "runc", "overhead": {"podFixed": {"cpu": "10m"}}}),
        ("policy", _) => json!({"spec": {"minAvailable": "50%", "selector": {"matchLabels": {"a": "b"}}}}),
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => json!({
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        }),
        ("rbac.authorization.k8s.io", binding) => json!({
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": if binding == "RoleBinding" { "Role" } else { "ClusterRole" }, "name": "one",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "u"}],
        }),
        ("resource.k8s.io", "DeviceClass") => json!({
            "spec": {"selectors": [{"cel": {"expression": "true"}}], "config": [{"opaque": {"driver": "a.b", "parameters": {"a": [1, {}]}}}]},
        }),
        ("resource.k8s.io", "ResourceSlice") => json!({
            "spec": {
                "driver": "a.b", "nodeName": "n", "pool": {"name": "p", "resourceSliceCount": 1},
                "devices": [{"name": "d", "attributes": {"a": {"int": 0}, "b": {"bool": false}}, "capacity": {"m": {"value": "1Gi"}}}],
            },
        }),
        ("resource.k8s.io", kind) => {
            let spec = json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}});
            if kind == "ResourceClaim" { json!({ "spec": spec }) } else { json!({"spec": {"spec": spec}}) }
        }
        ("scheduling.k8s.io", _) => json!({"value": 7}),
        ("storage.k8s.io", "CSIDriver") => json!({"spec": {}}),
        ("storage.k8s.io", "CSINode") => json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "n"}]}}),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": "c", "capacity": "1Gi"}),
        ("storage.k8s.io", "StorageClass") => {
            json!({"provisioner": "example.com/p", "parameters": {"a": "b"}})
        }
        ("storage.k8s.io", "VolumeAttachment") => json!({
            "spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
        }),
        ("storage.k8s.io", "VolumeAttributesClass") => json!({"driverName": "a.b", "parameters": {"a": "b"}}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"],
            }]},
            "validations": [{"expression": "object.metadata.name != 'two'"}],
        }}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "one", "validationActions": ["Deny"]}})
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => json!({"spec": {
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"],
            }]},
            "mutations": [{
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/spec', value: {}}]"},
            }],
            "reinvocationPolicy": "Never",
        }}),
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "one"}})
        }
        ("admissionregistration.k8s.io", _) => json!({}),
        _ => panic!("no object is given for {kind} in {group}"),
    }
}

use serde_json::{Value, json};

use crate::table::{Table, shows};

#[test]
fn classes() {
    let topology = |values: &[&str]| json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "a", "values": values}]}]});
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "x"},
        "provisioner": "example.com/p",
    }))
    .good(&[
        json!({"provisioner": "Example.com/P"}),
        json!({"parameters": {"a": "b"}}),
        json!({"reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
        topology(&["a", "b"]),
        json!({"mountOptions": ["ro"], "allowVolumeExpansion": true}),
    ])
    .bad(&[
        (json!({"provisioner": null}), &["provisioner: Required value"]),
        (json!({"provisioner": "a/b/c"}), &["provisioner: Invalid value: \"a/b/c\": a qualified name must consist"]),
        (json!({"provisioner": "/a"}), &["provisioner: Invalid value: \"/a\": prefix part must be non-empty"]),
        (json!({"parameters": {"": "b"}}), &["parameters: Invalid value: \"\": field can not be empty."]),
        (
            json!({"parameters": {"a": "b".repeat(256 << 10)}}),
            &["parameters: Too long: may not be more than 262144 bytes"],
        ),
        (
            json!({"parameters": (0..513).map(|n| (n.to_string(), json!("a"))).collect::<serde_json::Map<_, _>>()}),
            &["parameters: Too long: may not be more than 512 bytes"],
        ),
        (
            json!({"reclaimPolicy": "Recycle"}),
            &["reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\""],
        ),
        (
            json!({"volumeBindingMode": "Late"}),
            &["volumeBindingMode: Unsupported value: \"Late\": supported values: \"Immediate\", \"WaitForFirstConsumer\""],
        ),
        (topology(&[]), &["allowedTopologies[0].matchLabelExpressions[0].values: Required value"]),
        (
            topology(&["a", "a"]),
            &["allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"a\""],
        ),
        (
            json!({"allowedTopologies": [{"matchLabelExpressions": [{"key": "", "values": ["a"]}]}]}),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: \"\": name part must be non-empty",
                "allowedTopologies[0].matchLabelExpressions[0].key: Invalid value: \"\": name part must consist of",
            ],
        ),
    ])
    .changes(&[
        (json!({"provisioner": "q"}), &["provisioner: Forbidden: updates to provisioner are forbidden."]),
        (json!({"parameters": {"a": "b"}}), &["parameters: Forbidden: updates to parameters are forbidden."]),
        (json!({"reclaimPolicy": "Retain"}), &["reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden."]),
        (
            json!({"volumeBindingMode": "WaitForFirstConsumer"}),
            &["volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable"],
        ),
        (json!({"mountOptions": ["ro"], "parameters": {}}), &[]),
    ]);
}

#[test]
fn classes_of_attributes() {
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttributesClass", "metadata": {"name": "x"},
        "driverName": "example.com", "parameters": {"iops": "1"},
    }))
    .good(&[
        json!({"driverName": "A.b"}),
        json!({"parameters": {"b": ""}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"driverName": "a/b"}),
        json!({"metadata": {"name": "a.b"}}),
    ])
    .bad(&[
        (json!({"driverName": null}), &["driverName: Required value"]),
        (
            json!({"driverName": "a/b/c"}),
            &["driverName: Invalid value: \"a/b/c\": a qualified name must consist of"],
        ),
        (json!({"driverName": "-"}), &["driverName: Invalid value: \"-\": name part must consist of"]),
        (json!({"driverName": "/a"}), &["driverName: Invalid value: \"/a\": prefix part must be non-empty"]),
        (
            json!({"parameters": null}),
            &["parameters: Required value: must contain at least one key/value pair"],
        ),
        (
            json!({"parameters": {"iops": null}}),
            &["parameters: Required value: must contain at least one key/value"],
        ),
        (json!({"parameters": {"": "1"}}), &["parameters: Invalid value: \"\": field can not be empty."]),
        (
            json!({"parameters": {"a": "b".repeat(256 << 10)}}),
            &["parameters: Too long: may not be more than 262144 bytes"],
        ),
        (
            json!({"metadata": {"name": "A"}}),
            &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"],
        ),
        (
            json!({"metadata": {"namespace": "n"}}),
            &["metadata.namespace: Forbidden: not allowed on this type"],
        ),
    ])
    .changes(&[
        (json!({"driverName": "b"}), &["driverName: Forbidden: updates to driverName are forbidden."]),
        (
            json!({"parameters": {"iops": "2"}}),
            &["parameters: Forbidden: updates to parameters are forbidden."],
        ),
    ]);
}

#[test]
fn drivers() {
    let of = |change: Value| json!({ "spec": change });
    let tokens = |requests: Value| of(json!({ "tokenRequests": requests }));
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": "a.b"}, "spec": {},
    }))
    .good(&[
        of(json!({"attachRequired": false})),
        of(json!({"volumeLifecycleModes": ["Ephemeral", "Persistent"]})),
        of(json!({"fsGroupPolicy": "File"})),
        tokens(json!([{"audience": ""}, {"audience": "a", "expirationSeconds": 600}])),
        of(json!({"nodeAllocatableUpdatePeriodSeconds": 10})),
    ])
    .bad(&[
        (
            of(json!({"fsGroupPolicy": "All"})),
            &["spec.fsGroupPolicy: Unsupported value: \"All\": supported values: \"File\", \"None\", \
              \"ReadWriteOnceWithFSType\""],
        ),
        (
            of(json!({"volumeLifecycleModes": ["Short"]})),
            &["spec.volumeLifecycleModes: Unsupported value: \"Short\": supported values: \"Persistent\", \"Ephemeral\""],
        ),
        (
            tokens(json!([{"audience": "a"}, {"audience": "a"}])),
            &["spec.tokenRequests[1].audience: Duplicate value: \"a\""],
        ),
        (
            tokens(json!([{"audience": "a", "expirationSeconds": 599}])),
            &["spec.tokenRequests[0].expirationSeconds: Invalid value: 599: may not specify a duration less than 10"],
        ),
        (
            tokens(json!([{"audience": "a", "expirationSeconds": 4294967297i64}])),
            &["spec.tokenRequests[0].expirationSeconds: Invalid value: 4294967297: may not specify a duration larger"],
        ),
        (
            of(json!({"nodeAllocatableUpdatePeriodSeconds": 9})),
            &["spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds"],
        ),
        (json!({"metadata": {"name": "A"}}), &["metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"]),
        (json!({"metadata": {"name": "a_b"}}), &["metadata.name: Invalid value: \"a_b\": a lowercase RFC 1123"]),
        (json!({"metadata": {"namespace": "n"}}), &["metadata.namespace: Forbidden: not allowed on this type"]),
        (json!({"metadata": {"labels": {"a/b/c": ""}}}), &["metadata.labels: Invalid value: \"a/b/c\": a qualified"]),
    ])
    .changes(&[
        (of(json!({"podInfoOnMount": true, "requiresRepublish": true})), &[]),
        (of(json!({"attachRequired": false})), &["spec.attachedRequired: Invalid value: false: field is immutable"]),
        (
            of(json!({"volumeLifecycleModes": ["Ephemeral"]})),
            &["spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable"],
        ),
    ]);
}

#[test]
fn drivers_of_nodes() {
    let of = |change: Value| {
        let whole = json!({"name": "a.b", "nodeID": "n"});
        json!({"spec": {"drivers": [model::merge::merge_patch::apply(&whole, &change)]}})
    };
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": {"name": "n"},
        "spec": {"drivers": [{"name": "a.b", "nodeID": "n"}]},
    }))
    .good(&[
        json!({"spec": {"drivers": []}}),
        of(json!({"name": "A.B"})),
        of(json!({"topologyKeys": ["a/b", "c"]})),
        of(json!({"allocatable": {"count": 0}})),
        of(json!({"nodeID": "n".repeat(192)})),
    ])
    .bad(&[
        (
            of(json!({"name": ""})),
            &[
                "spec.drivers[0].name: Required value",
                "spec.drivers[0].name: Invalid value: \"\": a lowercase",
            ],
        ),
        (
            of(json!({"name": "a/b"})),
            &["spec.drivers[0].name: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain"],
        ),
        (
            of(json!({"name": "a".repeat(64)})),
            &["spec.drivers[0].name: Too long: may not be more than 63 bytes"],
        ),
        (of(json!({"nodeID": ""})), &["spec.drivers[0].nodeID: Required value"]),
        (of(json!({"nodeID": "n".repeat(193)})), &["spec.drivers[0].nodeID: Invalid value: \"nnn"]),
        (
            of(json!({"allocatable": {"count": -1}})),
            &["spec.drivers[0].allocatable.count: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({"spec": {"drivers": [{"name": "a.b", "nodeID": "n"}, {"name": "a.b", "nodeID": "n"}]}}),
            &["spec.drivers[1].name: Duplicate value: \"a.b\""],
        ),
        (of(json!({"topologyKeys": ["a", "a"]})), &["spec.drivers[0]: Duplicate value: \"a\""]),
        (
            of(json!({"topologyKeys": ["a b"]})),
            &["spec.drivers[0]: Invalid value: \"a b\": name part must consist of"],
        ),
        (
            json!({"metadata": {"name": "N"}}),
            &["metadata.name: Invalid value: \"N\": a lowercase RFC 1123 subdomain"],
        ),
    ])
    .changes(&[
        (of(json!({"allocatable": {"count": 3}})), &[]),
        (of(json!({"name": "c.d", "nodeID": "m"})), &[]),
        (
            of(json!({"nodeID": "m"})),
            &["spec.drivers: Invalid value: {\"name\":\"a.b\",\"nodeID\":\"m\"}: field is immutable"],
        ),
    ]);
}

#[test]
fn capacities() {
    let selector = |one: Value| json!({"nodeTopology": {"matchExpressions": [one]}});
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "CSIStorageCapacity", "metadata": {"name": "x", "namespace": "n"},
        "storageClassName": "c",
    }))
    .good(&[
        json!({"capacity": "1Gi"}),
        json!({"capacity": "0"}),
        json!({"nodeTopology": {"matchLabels": {"a": "b"}}}),
        json!({"storageClassName": "a.b"}),
        json!({"maximumVolumeSize": "1Gi"}),
    ])
    .bad(&[
        (json!({"storageClassName": ""}), &["storageClassName: Invalid value: \"\": a lowercase RFC 1123 subdomain"]),
        (json!({"storageClassName": "A"}), &["storageClassName: Invalid value: \"A\": a lowercase RFC 1123"]),
        (json!({"storageClassName": "a".repeat(254)}), &["storageClassName: Invalid value: \"aaa"]),
        (json!({"capacity": "-1"}), &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]),
        (
            json!({"nodeTopology": {"matchLabels": {"a b": "b"}}}),
            &["nodeTopology.matchLabels: Invalid value: \"a b\": name part must consist of"],
        ),
        (
            selector(json!({"key": "a", "operator": "In"})),
            &["nodeTopology.matchExpressions[0].values: Required value: must be specified when `operator` is 'In'"],
        ),
        (
            selector(json!({"key": "a", "operator": "Like"})),
            &["nodeTopology.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator"],
        ),
        (
            selector(json!({"key": "a", "operator": "Exists", "values": ["b"]})),
            &["nodeTopology.matchExpressions[0].values: Forbidden: may not be specified when `operator` is 'Exists'"],
        ),
        (json!({"metadata": {"namespace": null}}), &["metadata.namespace: Required value"]),
        (json!({"metadata": {"name": "X"}}), &["metadata.name: Invalid value: \"X\": a lowercase RFC 1123 subdomain"]),
    ])
    .changes(&[
        (json!({"capacity": "2Gi"}), &[]),
        (json!({"storageClassName": "d"}), &["storageClassName: Invalid value: \"d\": field is immutable"]),
        (json!({"nodeTopology": {}}), &["nodeTopology: Invalid value: {}: field is immutable"]),
    ]);
}

#[test]
fn attachments() {
    let of = |change: Value| json!({ "spec": change });
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    let (none, both) =
        (format!("spec.source: Required value: {ONE}"), format!("spec.source: Forbidden: {ONE}"));
    Table::of(json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "VolumeAttachment", "metadata": {"name": "x"},
        "spec": {"attacher": "a.b", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
    }))
    .good(&[
        of(json!({"attacher": "A.B"})),
        of(json!({"nodeName": "n.m"})),
        of(json!({"source": {"persistentVolumeName": "a.b"}})),
        json!({"status": {"attached": true, "attachmentMetadata": {"a": "b"}}}),
        json!({"status": {"attachError": {"message": "no", "errorCode": 5}}}),
    ])
    .bad(&[
        (
            of(json!({"attacher": null})),
            &[
                "spec.attacher: Required value",
                "spec.attacher: Required value",
                "spec.attacher: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            ],
        ),
        (of(json!({"attacher": "a/b"})), &["spec.attacher: Invalid value: \"a/b\": a lowercase RFC 1123 subdomain"]),
        (of(json!({"attacher": "a".repeat(64)})), &["spec.attacher: Too long: may not be more than 63 bytes"]),
        (of(json!({"source": null})), &[&none]),
        (of(json!({"source": {"inlineVolumeSpec": {}}})), &[&both]),
        (
            of(json!({"source": {"persistentVolumeName": ""}})),
            &[
                "spec.source.persistentVolumeName: Required value: must specify non empty persistentVolumeName",
                "spec.source.persistentVolumeName: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            ],
        ),
        (
            of(json!({"source": {"persistentVolumeName": "V"}})),
            &["spec.source.persistentVolumeName: Invalid value: \"V\": a lowercase RFC 1123 subdomain"],
        ),
        (of(json!({"nodeName": "N"})), &["spec.nodeName: Invalid value: \"N\": a lowercase RFC 1123 subdomain"]),
        (
            json!({"status": {"attachError": {"message": "a".repeat(1025)}}}),
            &["status.attachError.message: Too long: may not be more than 262144 bytes"],
        ),
        (
            json!({"status": {"detachError": {"errorCode": -1}}}),
            &["status.detachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
        ),
    ])
    .changes(&[(of(json!({"nodeName": "m"})), &["spec: Invalid value: {"])]);
}

#[test]
fn columns() {
    let of = |kind: &str, fields: Value| {
        let whole = json!({"apiVersion": "storage.k8s.io/v1", "kind": kind, "metadata": {"name": "x"}});
        model::merge::merge_patch::apply(&whole, &fields)
    };
    let default = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    shows(
        of(
            "StorageClass",
            json!({
                "metadata": {"annotations": default}, "provisioner": "p", "reclaimPolicy": "Retain",
                "volumeBindingMode": "Immediate", "allowVolumeExpansion": true,
            }),
        ),
        json!(["x (default)", "p", "Retain", "Immediate", true, "60m"]),
    );
    shows(
        of(
            "CSIDriver",
            json!({"spec": {
                "attachRequired": true, "tokenRequests": [{"audience": "a"}, {"audience": ""}],
                "volumeLifecycleModes": ["Persistent", "Ephemeral"],
            }}),
        ),
        json!(["x", true, false, false, "a,", false, "Persistent,Ephemeral", "60m"]),
    );
    shows(
        of("CSIDriver", json!({"spec": {}})),
        json!(["x", false, false, false, "<unset>", false, "<none>", "60m"]),
    );
    shows(of("CSINode", json!({"spec": {"drivers": [{}, {}]}})), json!(["x", 2, "60m"]));
    shows(of("CSIStorageCapacity", json!({"storageClassName": "c"})), json!(["x", "c", "<unset>"]));
    shows(
        of(
            "VolumeAttachment",
            json!({
                "spec": {"attacher": "a", "source": {"persistentVolumeName": "v"}, "nodeName": "n"},
                "status": {"attached": true},
            }),
        ),
        json!(["x", "a", "v", "n", true, "60m"]),
    );
    shows(of("VolumeAttributesClass", json!({"driverName": "d"})), json!(["x", "d", "60m"]));
}

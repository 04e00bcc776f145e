use serde_json::{Value, json};

use crate::table::Table;

#[test]
fn persistent_volumes() {
    const MODE: &str = "spec.accessModes: Unsupported value: \"Often\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"";
    let spec = |spec: Value| json!({ "spec": spec });
    let from = |name: &str, source: Value| json!({"spec": {"hostPath": null, name: source}});
    let on = |operator: &str, values: &[&str]| {
        let expression = json!({"key": "a", "operator": operator, "values": values});
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}})
    };
    let local = |affinity: Value| json!({"spec": {"hostPath": null, "local": {"path": "/d"}, "nodeAffinity": affinity}});
    Table::of(json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "x"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"}},
    }))
    .good(&[
        spec(json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "volumeMode": "Block"})),
        from("nfs", json!({"server": "s", "path": "/"})),
        from("csi", json!({"driver": "example.com", "volumeHandle": "h"})),
        local(on("In", &["n"])),
        spec(json!({"storageClassName": "gold", "persistentVolumeReclaimPolicy": "Delete"})),
    ])
    .bad(&[
        (spec(json!({"accessModes": []})), &["spec.accessModes: Required value"]),
        (spec(json!({"accessModes": ["Often"]})), &[MODE]),
        (
            spec(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]})),
            &["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            spec(json!({"capacity": null})),
            &["spec.capacity: Required value", "spec.capacity: Unsupported value: null: supported values: \"storage\""],
        ),
        (spec(json!({"capacity": {"storage": "0"}})), &["spec.capacity[storage]: Invalid value: \"0\": must be greater than zero"]),
        (
            spec(json!({"persistentVolumeReclaimPolicy": "Burn"})),
            &["spec.persistentVolumeReclaimPolicy: Unsupported value: \"Burn\": supported values: \"Delete\", \"Recycle\", \"Retain\""],
        ),
        (spec(json!({"hostPath": null})), &["spec: Required value: must specify a volume type"]),
        (spec(json!({"nfs": {"server": "s", "path": "/"}})), &["spec.nfs: Forbidden: may not specify more than 1 volume type"]),
        (spec(json!({"hostPath": {"path": "/a/../b"}})), &["spec.hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"]),
        (
            json!({"spec": {"hostPath": {"path": "//."}, "persistentVolumeReclaimPolicy": "Recycle"}}),
            &["spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'"],
        ),
        (from("nfs", json!({"server": "", "path": "d"})), &["spec.nfs.server: Required value", "spec.nfs.path: Invalid value: \"d\": must be an absolute path"]),
        (
            from("csi", json!({"driver": "", "volumeHandle": "", "nodeStageSecretRef": {"name": "s"}})),
            &["spec.csi.driver: Required value", "spec.csi.volumeHandle: Required value", "spec.csi.nodeStageSecretRef.namespace: Required value"],
        ),
        (local(Value::Null), &["spec.nodeAffinity: Required value: Local volume requires node affinity"]),
        (local(on("In", &[])), &["spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified"]),
        (local(json!({})), &["spec.nodeAffinity.required: Required value: must specify required node constraints"]),
        (spec(json!({"volumeMode": "Tape"})), &["spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\""]),
        (
            spec(json!({"volumeAttributesClassName": "fast"})),
            &["spec.csi: Required value: has to be specified when using volumeAttributesClassName"],
        ),
        (from("fc", json!({})), &["spec.fc.targetWWNs: Required value: must specify either targetWWNs or wwids, but not both"]),
    ])
    .changes(&[
        (spec(json!({"capacity": {"storage": "2Gi"}, "storageClassName": "gold"})), &[]),
        (
            spec(json!({"hostPath": {"path": "/e"}})),
            &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"],
        ),
        (spec(json!({"volumeMode": "Block"})), &["volumeMode: Invalid value: \"Block\": field is immutable"]),
    ]);
}

#[test]
fn persistent_volume_claims() {
    const IMMUTABLE: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n";
    let spec = |spec: Value| json!({ "spec": spec });
    let size = |size: &str| json!({"spec": {"resources": {"requests": {"storage": size}}}});
    let source = |source: Value| json!({"spec": {"dataSource": source.clone(), "dataSourceRef": source}});
    let sound = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}},
    });
    Table::of(sound.clone())
        .good(&[
            spec(json!({"accessModes": ["ReadWriteOncePod"]})),
            spec(json!({"storageClassName": "", "volumeMode": "Block"})),
            spec(json!({"selector": {"matchLabels": {"a": "b"}}})),
            source(json!({"kind": "PersistentVolumeClaim", "name": "o"})),
            source(json!({"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "o"})),
        ])
        .bad(&[
            (spec(json!({"accessModes": []})), &["spec.accessModes: Required value: at least 1 access mode is required"]),
            (spec(json!({"accessModes": ["Often"]})), &["spec.accessModes: Unsupported value: \"Often\""]),
            (
                spec(json!({"accessModes": ["ReadWriteOncePod", "ReadWriteMany"]})),
                &["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
            ),
            (spec(json!({"resources": null})), &["spec.resources[storage]: Required value"]),
            (size("0"), &["spec.resources[storage]: Invalid value: \"0\": must be greater than zero"]),
            (size("-1"), &["spec.resources[storage]: Invalid value: \"-1\": must be greater than zero"]),
            (spec(json!({"storageClassName": "A_"})), &["spec.storageClassName: Invalid value: \"A_\""]),
            (spec(json!({"volumeMode": "Tape"})), &["spec.volumeMode: Unsupported value: \"Tape\""]),
            (
                spec(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}})),
                &["spec.selector.matchExpressions[0].operator: Invalid value: \"Like\": not a valid selector operator"],
            ),
            (
                spec(json!({"dataSource": {"kind": "Pod", "name": "p"}})),
                &["spec.dataSource: Invalid value: \"Pod\": must be 'PersistentVolumeClaim' when referencing the default apiGroup"],
            ),
            (
                spec(json!({
                    "dataSource": {"kind": "PersistentVolumeClaim", "name": "p"},
                    "dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "q"},
                })),
                &["spec: Invalid value: \"spec.dataSource\": must match dataSourceRef"],
            ),
        ])
        .changes(&[
            (spec(json!({"volumeName": "v"})), &[]),
            (spec(json!({"storageClassName": "gold"})), &[]),
            (spec(json!({"accessModes": ["ReadWriteMany"]})), &[IMMUTABLE]),
            (size("3Gi"), &[IMMUTABLE]),
            (
                json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "c"}}}),
                &["metadata.annotations[volume.beta.kubernetes.io/storage-class]: Invalid value: \"c\": field is immutable"],
            ),
        ]);
    let mut bound = sound;
    bound["spec"]["volumeName"] = json!("v");
    bound["status"] = json!({"phase": "Bound", "capacity": {"storage": "1Gi"}});
    Table::of(bound).changes(&[
        (size("3Gi"), &[]),
        (size("1500Mi"), &[]),
        (
            size("1Gi"),
            &["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"],
        ),
        (spec(json!({"volumeName": "w"})), &[IMMUTABLE]),
    ]);
}

//! Volumes that are wrong, a line each.

use super::*;

#[test]
fn what_is_wrong_with_volumes_is_told() {
    let projected = |sources: Value| volume(json!({"projected": {"sources": sources}}));
    let claim = |spec: Value| volume(json!({"ephemeral": {"volumeClaimTemplate": {"spec": spec}}}));
    let storage = || json!({"requests": {"storage": "1Gi"}});
    let at = "spec.volumes[0].ephemeral.volumeClaimTemplate.spec";
    let modes = format!(
        r#"{at}.accessModes: Unsupported value: "Odd": supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod""#
    );
    let no_modes = format!("{at}.accessModes: Required value: at least 1 access mode is required");
    let no_size = format!("{at}.resources[storage]: Required value");
    let told = check(vec![
        (
            pod(json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]})),
            r#"spec.volumes[1].name: Duplicate value: "v""#,
        ),
        (
            volume(json!({"emptyDir": {"sizeLimit": "-1"}})),
            "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            volume(json!({"hostPath": {"path": "/a/../b"}})),
            r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#,
        ),
        (
            volume(json!({"hostPath": {"path": "/a", "type": "Odd"}})),
            r#"spec.volumes[0].hostPath.type: Unsupported value: "Odd": supported values: "", "BlockDevice"…"#,
        ),
        (
            volume(json!({"emptyDir": {}, "hostPath": {"path": "/"}})),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (volume(json!({"secret": {}})), "spec.volumes[0].secret.secretName: Required value"),
        (
            volume(json!({"secret": {"secretName": "s", "items": [{"key": "k", "path": "..a"}]}})),
            r#"spec.volumes[0].secret.items[0].path: Invalid value: "..a": must not start with '..'"#,
        ),
        (
            volume(json!({"configMap": {"name": "c", "defaultMode": 512}})),
            "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            volume(json!({"downwardAPI": {"items": [{"path": "a"}]}})),
            "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
        ),
        (
            volume(
                json!({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
            ),
            "spec.volumes[0].downwardAPI.resourceFieldRef.containerName: Required value",
        ),
        (
            projected(json!([{"secret": {"name": "s"}, "configMap": {"name": "c"}}])),
            "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
        ),
        (
            projected(
                json!([{"secret": {"name": "s", "items": [{"key": "k", "path": "a"}]}}, {"configMap": {"name": "c", "items": [{"key": "k", "path": "a"}]}}]),
            ),
            r#"spec.volumes[0].projected: Invalid value: "c": conflicting duplicate paths"#,
        ),
        (
            projected(json!([{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}])),
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
        ),
        (
            projected(json!([{"serviceAccountToken": {"path": ""}}])),
            "spec.volumes[0].projected.path: Required value",
        ),
        (
            of_metadata(
                json!({}),
                json!({"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            ),
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
        ),
        (
            volume(json!({"nfs": {"server": "s", "path": "p"}})),
            r#"spec.volumes[0].nfs.path: Invalid value: "p": must be an absolute path"#,
        ),
        (
            volume(json!({"iscsi": {"targetPortal": "t", "iqn": "odd", "lun": 0}})),
            r#"spec.volumes[0].iscsi.iqn: Invalid value: "odd": must be valid format starting with iqn, eui, or naa"#,
        ),
        (
            volume(json!({"iscsi": {"targetPortal": "t", "iqn": "iqn.2024", "lun": 0}})),
            r#"spec.volumes[0].iscsi.iqn: Invalid value: "iqn.2024": must be valid format"#,
        ),
        (
            volume(json!({"fc": {"targetWWNs": ["w"]}})),
            "spec.volumes[0].fc.lun: Required value: lun is required if targetWWNs is specified",
        ),
        (
            volume(json!({"flexVolume": {"driver": "d", "options": {"kubernetes.io/a": "b"}}})),
            r#"spec.volumes[0].flexVolume.options[kubernetes.io/a]: Invalid value: "kubernetes.io/a": kubernetes.io and k8s.io namespaces are reserved"#,
        ),
        (
            volume(json!({"azureDisk": {"diskName": "d", "diskURI": "x", "kind": "Managed"}})),
            r#"spec.volumes[0].azureDisk.diskURI: Unsupported value: "x": supported values: "/subscriptions/…"#,
        ),
        (
            volume(json!({"csi": {"driver": "a_b"}})),
            r#"spec.volumes[0].csi.driver: Invalid value: "a_b": a lowercase RFC 1123 subdomain…"#,
        ),
        (
            volume(json!({"csi": {"driver": "d", "nodePublishSecretRef": {}}})),
            "spec.volumes[0].csi.nodePublishSecretRef.name: Required value",
        ),
        (volume(json!({"image": {}})), "spec.volumes[0].image.reference: Required value"),
        (
            volume(json!({"image": {"reference": "i", "pullPolicy": "Odd"}})),
            r#"spec.volumes[0].image.pullPolicy: Unsupported value: "Odd": supported values: "Always", "IfNotPresent", "Never""#,
        ),
        (volume(json!({"ephemeral": {}})), "spec.volumes[0].ephemeral.volumeClaimTemplate: Required value"),
        (claim(json!({"accessModes": ["Odd"], "resources": storage()})), &modes),
        (claim(json!({"resources": storage()})), &no_modes),
        (claim(json!({"accessModes": ["ReadWriteOnce"]})), &no_size),
        (
            pod(
                json!({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": storage()}}}}, {"name": "w", "persistentVolumeClaim": {"claimName": "p-v"}}]}),
            ),
            r#"spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: "p-v": must not reference a PVC that gets created for an ephemeral volume"#,
        ),
        (
            volume(json!({"gcePersistentDisk": {"pdName": "d", "partition": 256}})),
            "spec.volumes[0].persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
        ),
        (
            volume(json!({"quobyte": {"registry": "r", "volume": "v"}})),
            r#"spec.volumes[0].quobyte.registry: Invalid value: "r": must be a host:port pair or multiple pairs separated by commas"#,
        ),
    ]);
    assert!(told >= 30, "{told}");
}

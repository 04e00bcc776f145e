//! What pods may mount.

use serde_json::Value;

use super::{Finding, Pod, distinct, items, name, plural, quoted};

/// Sources that give nothing of the host, and nothing past the cluster's own rules.
const ALLOWED: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];
/// The others, in the order in which they are looked for.
const OTHERS: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn has(volume: &Value, source: &str) -> bool {
    !volume[source].is_null()
}

pub(super) fn host_paths(pod: &Pod<'_>) -> Option<Finding> {
    let volumes: Vec<&str> =
        items(&pod.spec["volumes"]).filter(|volume| has(volume, "hostPath")).map(name).collect();
    (!volumes.is_empty()).then(|| {
        let what = plural("volume", "volumes", volumes.len());
        Finding::new("hostPath volumes", format!("{what} {}", quoted(&volumes)))
    })
}

pub(super) fn restricted(pod: &Pod<'_>) -> Option<Finding> {
    let bad: Vec<&Value> = items(&pod.spec["volumes"])
        .filter(|volume| !ALLOWED.iter().any(|source| has(volume, source)))
        .collect();
    let kind = |volume: &&Value| OTHERS.into_iter().find(|source| has(volume, source)).unwrap_or("unknown");
    let kinds = distinct(bad.iter().map(kind));
    (!bad.is_empty()).then(|| {
        let detail = format!(
            "{} {} {} {} {}",
            plural("volume", "volumes", bad.len()),
            quoted(bad.iter().map(|volume| name(volume))),
            plural("uses", "use", bad.len()),
            plural("restricted volume type", "restricted volume types", kinds.len()),
            quoted(kinds)
        );
        Finding::new("restricted volume types", detail)
    })
}

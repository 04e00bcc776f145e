//! What pods refer to.

use model::Object;
use model::validate::{list, text};
use serde_json::Value;

/// A kind of objects that pods refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

/// The names of what a pod refers to, all in its own namespace.
pub(crate) fn references(pod: &Object) -> Vec<(Target, String)> {
    let mut found = Vec::new();
    let mut add = |target, name: &str| {
        if !name.is_empty() {
            found.push((target, name.to_owned()));
        }
    };
    let spec = pod.get(&["spec"]).unwrap_or(&Value::Null);
    add(Target::ServiceAccount, text(spec, "serviceAccountName"));
    for secret in list(spec, "imagePullSecrets") {
        add(Target::Secret, text(secret, "name"));
    }
    for containers in ["containers", "initContainers", "ephemeralContainers"] {
        for container in list(spec, containers) {
            for variable in list(container, "env") {
                let from = &variable["valueFrom"];
                add(Target::Secret, text(&from["secretKeyRef"], "name"));
                add(Target::ConfigMap, text(&from["configMapKeyRef"], "name"));
            }
            for from in list(container, "envFrom") {
                add(Target::Secret, text(&from["secretRef"], "name"));
                add(Target::ConfigMap, text(&from["configMapRef"], "name"));
            }
        }
    }
    for volume in list(spec, "volumes") {
        add(Target::Secret, text(&volume["secret"], "secretName"));
        add(Target::Secret, text(&volume["azureFile"], "secretName"));
        for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
            add(Target::Secret, text(&volume[kind]["secretRef"], "name"));
        }
        add(Target::Secret, text(&volume["csi"]["nodePublishSecretRef"], "name"));
        add(Target::ConfigMap, text(&volume["configMap"], "name"));
        for source in list(&volume["projected"], "sources") {
            add(Target::Secret, text(&source["secret"], "name"));
            add(Target::ConfigMap, text(&source["configMap"], "name"));
        }
        add(Target::Claim, text(&volume["persistentVolumeClaim"], "claimName"));
        if volume["ephemeral"].is_object() {
            add(Target::Claim, &format!("{}-{}", pod.name(), text(volume, "name")));
        }
    }
    for claim in list(spec, "resourceClaims") {
        add(Target::ResourceClaim, text(claim, "resourceClaimName"));
    }
    for claim in pod.get_list(&["status", "resourceClaimStatuses"]) {
        add(Target::ResourceClaim, text(claim, "resourceClaimName"));
    }
    add(
        Target::ResourceClaim,
        text(&pod.value()["status"]["extendedResourceClaimStatus"], "resourceClaimName"),
    );
    found.sort();
    found.dedup();
    found
}

/// Whether a pod is only the picture of one that its node runs by itself.
pub(crate) fn is_mirror(pod: &Object) -> bool {
    pod.annotation("kubernetes.io/config.mirror").is_some()
}

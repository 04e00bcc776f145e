//! Defaults of a pod's spec, in a pod and in the templates of other kinds.

use crate::amounts::round_up;
use model::default::{Fields, each, existing, inside, is_zero, missing, text, unset};

/// Containers of a pod, by the fields that list them.
const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in the `template` of a spec.
pub(crate) fn template_of(fields: &mut Fields) {
    let template = inside(fields, "template");
    inside(template, "metadata");
    spec(inside(template, "spec"));
}

/// Fills in a pod's spec, whatever kind it stands in.
pub(crate) fn spec(fields: &mut Fields) {
    for list in CONTAINERS {
        for one in each(fields, list) {
            container(one);
        }
    }
    for one in each(fields, "volumes") {
        volume(one);
    }
    round_up(fields, "overhead");
    resources(fields, "resources");
    unset(fields, "restartPolicy", "Always");
    missing(fields, "terminationGracePeriodSeconds", 30);
    unset(fields, "dnsPolicy", "ClusterFirst");
    // The old name is served beside the new one.
    for (from, to) in [("serviceAccountName", "serviceAccount"), ("serviceAccount", "serviceAccountName")] {
        if let Some(name) = fields.get(from).filter(|name| !is_zero(Some(name))).cloned() {
            fields.insert(to.into(), name);
        }
    }
    missing(fields, "securityContext", Fields::new());
    unset(fields, "schedulerName", "default-scheduler");
}

/// Whether an image without a pull policy is pulled each time: its tag, given or implied, is `latest`.
pub(crate) fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        // A digest says exactly which image, unless a tag beside it says latest.
        return image.split('@').next().is_some_and(|name| name.ends_with(":latest"));
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !image.is_empty(),
    }
}

fn container(fields: &mut Fields) {
    let policy = if is_latest(text(fields, "image")) { "Always" } else { "IfNotPresent" };
    for port in each(fields, "ports") {
        unset(port, "protocol", "TCP");
    }
    for variable in each(fields, "env") {
        if let Some(reference) =
            existing(variable, "valueFrom").and_then(|source| existing(source, "fieldRef"))
        {
            unset(reference, "apiVersion", "v1");
        }
    }
    inside(fields, "resources");
    resources(fields, "resources");
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(fields) = existing(fields, name) {
            probe(fields);
        }
    }
    if let Some(lifecycle) = existing(fields, "lifecycle") {
        // Behind a gate that is closed in this version.
        lifecycle.shift_remove("stopSignal");
        for name in ["postStart", "preStop"] {
            if let Some(get) = existing(lifecycle, name).and_then(|handler| existing(handler, "httpGet")) {
                http_get(get);
            }
        }
    }
    unset(fields, "terminationMessagePath", "/dev/termination-log");
    unset(fields, "terminationMessagePolicy", "File");
    unset(fields, "imagePullPolicy", policy);
}

fn resources(fields: &mut Fields, name: &str) {
    if let Some(resources) = existing(fields, name) {
        round_up(resources, "limits");
        round_up(resources, "requests");
    }
}

fn probe(fields: &mut Fields) {
    if let Some(get) = existing(fields, "httpGet") {
        http_get(get);
    }
    if let Some(call) = existing(fields, "grpc") {
        missing(call, "service", "");
    }
    unset(fields, "timeoutSeconds", 1);
    unset(fields, "periodSeconds", 10);
    unset(fields, "successThreshold", 1);
    unset(fields, "failureThreshold", 3);
}

fn http_get(fields: &mut Fields) {
    unset(fields, "path", "/");
    unset(fields, "scheme", "HTTP");
}

fn volume(fields: &mut Fields) {
    if fields.keys().all(|name| name == "name") {
        fields.insert("emptyDir".into(), Fields::new().into());
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = existing(fields, name) {
            missing(source, "defaultMode", 0o644);
        }
    }
    if let Some(path) = existing(fields, "hostPath") {
        missing(path, "type", "");
    }
    if let Some(image) = existing(fields, "image") {
        let policy = if is_latest(text(image, "reference")) { "Always" } else { "IfNotPresent" };
        unset(image, "pullPolicy", policy);
    }
    if let Some(downward) = existing(fields, "downwardAPI") {
        field_references(downward);
    }
    if let Some(projected) = existing(fields, "projected") {
        for source in each(projected, "sources") {
            if let Some(token) = existing(source, "serviceAccountToken") {
                missing(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = existing(source, "downwardAPI") {
                field_references(downward);
            }
        }
    }
    if let Some(spec) = existing(fields, "ephemeral")
        .and_then(|source| existing(source, "volumeClaimTemplate"))
        .and_then(|template| existing(template, "spec"))
    {
        missing(spec, "volumeMode", "Filesystem");
        resources(spec, "resources");
    }
}

fn field_references(fields: &mut Fields) {
    for item in each(fields, "items") {
        if let Some(reference) = existing(item, "fieldRef") {
            unset(reference, "apiVersion", "v1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_latest;

    #[test]
    fn latest_is_what_has_no_other_tag() {
        for image in ["nginx", "nginx:latest", "localhost:5000/nginx", "a/b/c:latest"] {
            assert!(is_latest(image), "{image}");
        }
        for image in ["nginx:1", "localhost:5000/nginx:1", "nginx@sha256:00", ""] {
            assert!(!is_latest(image), "{image}");
        }
    }
}

//! References to what a pod itself says: to its fields, and to the resources of its containers.

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, text};

/// What a variable may name, besides single labels and annotations.
pub(super) const OF_VARIABLES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// What a file may name, besides single labels and annotations.
pub(super) const OF_FILES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// What there is to be named at all, besides those.
const KNOWN: [&str; 5] =
    ["metadata.labels", "metadata.annotations", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const OF_BYTES: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// A reference to one of the `allowed` fields of the pod itself.
pub(super) fn field(reference: &Value, path: &Path<'_>, allowed: &[&str], errors: &mut Errors) {
    let version = text(reference, "apiVersion");
    if version.is_empty() {
        errors.push(FieldError::required(&path.child("apiVersion"), ""));
        return;
    }
    let field = text(reference, "fieldPath");
    let of_field = path.child("fieldPath");
    if field.is_empty() {
        errors.push(FieldError::required(&of_field, ""));
        return;
    }
    let mut unknown = |why: String| {
        errors.push(FieldError::invalid(&of_field, field, format!("error converting fieldPath: {why}")));
    };
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"));
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        match base {
            "metadata.labels" => invalid(errors, path, key, names::qualified(key)),
            "metadata.annotations" => {
                let lower = key.to_lowercase();
                invalid(errors, path, lower.as_str(), names::qualified(&lower));
            }
            _ => unknown(format!("field label does not support subscript: {field}")),
        }
        return;
    }
    // An old name of it.
    let field = if field == "spec.host" { "spec.nodeName" } else { field };
    if allowed.contains(&field) {
        return;
    }
    if KNOWN.contains(&field) || OF_VARIABLES.contains(&field) {
        errors.push(FieldError::not_supported(&of_field, field, allowed));
    } else {
        unknown(format!("field label not supported: {field}"));
    }
}

/// A reference to what a container asks for, or may have: in a file it says which container is meant.
pub(super) fn resource(reference: &Value, path: &Path<'_>, in_file: bool, errors: &mut Errors) {
    let resource = text(reference, "resource");
    let of_huge_pages =
        ["limits.hugepages-", "requests.hugepages-"].iter().any(|of| resource.starts_with(of));
    if in_file && text(reference, "containerName").is_empty() {
        errors.push(FieldError::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !of_huge_pages {
        errors.push(FieldError::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    let Some(divisor) = reference.get("divisor").and_then(Quantity::from_json) else { return };
    if divisor.is_zero() {
        return;
    }
    let shown = divisor.to_string();
    let (supported, of) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"][..], "1m and 1 are supported with the cpu resource"),
        "limits.memory" | "requests.memory" => (&OF_BYTES[..], "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (&OF_BYTES[..], "local ephemeral storage")
        }
        _ if of_huge_pages => (&OF_BYTES[..], "hugepages"),
        _ => return,
    };
    if supported.contains(&shown.as_str()) {
        return;
    }
    let message = if supported.len() == 2 {
        format!("only divisor's values {of}")
    } else {
        format!("only divisor's values {} are supported with the {of} resource", OF_BYTES.join(", "))
    };
    errors.push(FieldError::invalid(&path.child("divisor"), resource, message));
}

//! What of a pod's status may change, and how.

use std::collections::HashSet;

use serde_json::Value;

use model::Object;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, address, immutable, invalid, list, number, text};

use crate::pod_spec::volume::set;

/// Lists of what containers do, with the lists of the spec that name them.
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
const MAX_ID: i64 = i32::MAX as i64;

/// Rules of the change of a pod's status.
pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    super::update::annotations(object, old, errors);
    let empty = Value::Null;
    let part = |of: &'_ Object, name: &str| of.get(&[name]).cloned().unwrap_or(Value::Null);
    let status = object.get(&["status"]).unwrap_or(&empty);
    let (old_status, spec) = (part(old, "status"), part(old, "spec"));
    let (path, metadata) = (Path::root("status"), Path::root("metadata"));
    // So Kubernetes calls the place.
    conditions(status, &metadata.child("conditions"), errors);
    let nominated = text(status, "nominatedNodeName");
    if !nominated.is_empty() && nominated != text(&old_status, "nominatedNodeName") {
        invalid(errors, &path.child("nominatedNodeName"), nominated, names::dns1123_subdomain(nominated));
    }
    immutable(errors, status.get("qosClass"), old_status.get("qosClass"), &path.child("qosClass"));
    for (statuses, containers) in STATUSES {
        let path = path.child(statuses);
        transitions(list(status, statuses), list(&old_status, statuses), &spec, containers, &path, errors);
    }
    claims(status, &spec, &path.child("resourceClaimStatuses"), errors);
    addresses(status, "podIPs", &path, errors);
    if let Some(first) = list(status, "hostIPs").first()
        && text(first, "ip") != text(status, "hostIP")
    {
        let path = path.child("hostIPs");
        let path = path.index(0);
        errors.push(FieldError::invalid(&path.child("ip"), text(first, "ip"), "must be equal to `hostIP`"));
    }
    addresses(status, "hostIPs", &path, errors);
    for (statuses, containers) in STATUSES {
        let path = path.child(statuses);
        for (index, status) in list(status, statuses).iter().enumerate() {
            user(status, &spec, &path.index(index), errors);
        }
        for (index, status) in list(status, statuses).iter().enumerate() {
            devices(status, list(&spec, containers), containers, &path.index(index), errors);
        }
    }
}

fn conditions(status: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let kind = text(condition, "type");
        invalid(errors, &path.index(index).child("Type"), kind, names::qualified(kind));
    }
}

/// A container that has ended for good does not run again.
fn transitions(
    new: &[Value],
    old: &[Value],
    spec: &Value,
    containers: &str,
    path: &Path<'_>,
    errors: &mut Errors,
) {
    let of_pod = match containers {
        "ephemeralContainers" => "Never",
        _ => text(spec, "restartPolicy"),
    };
    for (index, status) in old.iter().enumerate() {
        let Some(ended) = status.pointer("/state/terminated") else { continue };
        let failed = number(ended, "exitCode").unwrap_or_default() != 0;
        let name = text(status, "name");
        let own = list(spec, containers).iter().find(|container| text(container, "name") == name);
        // A container may say for itself when it runs again.
        let has_rules = own.is_some_and(|own| !list(own, "restartPolicyRules").is_empty());
        let may_restart = match own.map_or("", |own| text(own, "restartPolicy")) {
            "" => of_pod == "Always" || (of_pod == "OnFailure" && failed),
            own => own == "Always" || (own == "OnFailure" && failed),
        };
        // And one that ends may say that all run again.
        let all_may =
            ["containers", "initContainers"].iter().flat_map(|kind| list(spec, kind)).any(|container| {
                list(container, "restartPolicyRules")
                    .iter()
                    .any(|rule| text(rule, "action") == "RestartAllContainers")
            });
        if may_restart || has_rules || (all_may && containers != "ephemeralContainers") {
            continue;
        }
        let runs_again =
            |new: &Value| text(new, "name") == name && new.pointer("/state/terminated").is_none();
        for _ in new.iter().filter(|new| runs_again(new)) {
            let message = "may not be transitioned to non-terminated state";
            errors.push(FieldError::forbidden(&path.index(index).child("state"), message));
        }
    }
}

/// Claims that were made for the pod.
fn claims(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let known: HashSet<&str> = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name")).collect();
    let mut told = HashSet::new();
    for (index, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let path = path.index(index);
        let path = path.child("name");
        let name = text(claim, "name");
        if !known.contains(name) {
            let message = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(FieldError::invalid(&path, name, message));
        }
        if !told.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        if let Some(name) = set(claim, "resourceClaimName").and_then(Value::as_str) {
            invalid(errors, &path, name, names::dns1123_subdomain(name));
        }
    }
}

/// At most one address of each family.
fn addresses(status: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child(name);
    let all: Vec<&str> = list(status, name).iter().map(|item| text(item, "ip")).collect();
    for (index, ip) in all.iter().enumerate() {
        address(errors, &path.index(index), ip);
    }
    if all.len() < 2 {
        return;
    }
    let is_six = |ip: &&str| ip.contains(':');
    let both = all.iter().any(is_six) && !all.iter().all(is_six);
    if !both || all.len() > 2 {
        let message = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&path, list(status, name).to_vec(), message));
    }
    let mut known = HashSet::new();
    for (index, item) in list(status, name).iter().enumerate() {
        if !known.insert(text(item, "ip")) {
            errors.push(FieldError::duplicate(&path.index(index), item.clone()));
        }
    }
}

/// Who the first process of a container is.
fn user(status: &Value, spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(user) = set(status, "user").and_then(|user| set(user, "linux")) else { return };
    let path = path.child("linux");
    if set(spec, "os").is_some_and(|os| text(os, "name") == "windows") {
        errors.push(FieldError::forbidden(&path, "cannot be set for a windows pod"));
        return;
    }
    for name in ["uid", "gid"] {
        let id = number(user, name).unwrap_or_default();
        invalid(errors, &path.child(name), id, names::in_range(id, 0, MAX_ID));
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in list(user, "supplementalGroups").iter().enumerate() {
        let id = group.as_i64().unwrap_or_default();
        invalid(errors, &groups.index(index), id, names::in_range(id, 0, MAX_ID));
    }
}

/// How the devices fare that a container has.
fn devices(status: &Value, containers: &[Value], kind: &str, path: &Path<'_>, errors: &mut Errors) {
    let all = list(status, "allocatedResourcesStatus");
    let path = path.child("allocatedResourcesStatus");
    if kind == "ephemeralContainers" {
        if !all.is_empty() {
            errors.push(FieldError::forbidden(&path, "must not be specified in container status"));
        }
        return;
    }
    let container = containers.iter().find(|container| text(container, "name") == text(status, "name"));
    for (index, allocated) in all.iter().enumerate() {
        let path = path.index(index);
        let name = text(allocated, "name");
        let resources = container.map(|container| container.get("resources").unwrap_or(&Value::Null));
        if let Some(resources) = resources {
            let (is_known, message) = match name.strip_prefix("claim:") {
                Some(wanted) => {
                    let is_known =
                        list(resources, "claims").iter().any(|claim| match text(claim, "request") {
                            "" => text(claim, "name") == wanted,
                            request => format!("{}/{request}", text(claim, "name")) == wanted,
                        });
                    (
                        is_known,
                        "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty",
                    )
                }
                None => {
                    let requests = resources.get("requests").and_then(Value::as_object);
                    let is_known = requests.is_some_and(|requests| requests.contains_key(name));
                    (is_known, "must match one of the container's resource requests")
                }
            };
            if !is_known {
                errors.push(FieldError::invalid(&path.child("name"), name, message));
            }
        }
        let (of_resources, mut known) = (path.child("resources"), HashSet::new());
        for (index, device) in list(allocated, "resources").iter().enumerate() {
            let path = of_resources.index(index);
            let (health, id) = (text(device, "health"), text(device, "resourceID"));
            let supported = ["Healthy", "Unhealthy", "Unknown"];
            if !health.is_empty() && !supported.contains(&health) {
                errors.push(FieldError::not_supported(&path.child("health"), health, &supported));
            }
            if !known.insert(id) {
                errors.push(FieldError::duplicate(&path.child("resourceID"), id));
            }
        }
    }
}

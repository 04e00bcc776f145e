//! Rules of what a container sees of its pod's volumes: mounts and devices.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use model::field::{FieldError, Path};
use model::validate::{Errors, flag, list, text};

use super::volume::{descending, set};

/// The mounts and the devices of the container `container`, which is at `path`.
pub(super) fn all(container: &Value, path: &Path<'_>, volumes: &HashMap<&str, &Value>, errors: &mut Errors) {
    mounts(container, &path.child("volumeMounts"), volumes, errors);
    devices(container, &path.child("volumeDevices"), volumes, errors);
}

/// Whether an item of a list has a text in a field.
fn any(container: &Value, kind: &str, field: &str, value: &str) -> bool {
    list(container, kind).iter().any(|item| text(item, field) == value)
}

fn mounts(container: &Value, path: &Path<'_>, volumes: &HashMap<&str, &Value>, errors: &mut Errors) {
    let mut places = HashSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let of_mount = path.index(index);
        let (of_name, of_place) = (of_mount.child("name"), of_mount.child("mountPath"));
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&of_name, ""));
        }
        if !volumes.contains_key(name) {
            errors.push(FieldError::not_found(&of_name, name));
        }
        if place.is_empty() {
            errors.push(FieldError::required(&of_place, ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(&of_place, place, "must be unique"));
        }
        if any(container, "volumeDevices", "name", name) {
            errors.push(FieldError::invalid(&of_name, name, "must not already exist in volumeDevices"));
        }
        if any(container, "volumeDevices", "devicePath", place) {
            let message = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(&of_place, place, message));
        }
        // What follows is told of the list, not of the item, as Kubernetes tells it.
        descending(text(mount, "subPath"), &path.child("subPath"), errors);
        let expression = text(mount, "subPathExpr");
        if !expression.is_empty() {
            if !text(mount, "subPath").is_empty() {
                let message = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(&of_mount.child("subPathExpr"), expression, message));
            }
            descending(expression, &path.child("subPathExpr"), errors);
        }
        propagation(container, mount, path, errors);
        recursive(mount, &path.child("recursiveReadOnly"), errors);
    }
}

fn propagation(container: &Value, mount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(how) = set(mount, "mountPropagation").and_then(Value::as_str) else { return };
    let path = path.child("mountPropagation");
    let supported = ["Bidirectional", "HostToContainer", "None"];
    if !supported.contains(&how) {
        errors.push(FieldError::not_supported(&path, how, &supported));
    }
    let privileged = set(container, "securityContext").is_some_and(|context| flag(context, "privileged"));
    if how == "Bidirectional" && !privileged {
        let message = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&path, message));
    }
}

fn recursive(mount: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(how) = set(mount, "recursiveReadOnly").and_then(Value::as_str) else { return };
    match how {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "readOnly") {
                errors.push(FieldError::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !["", "None"].contains(&text(mount, "mountPropagation")) {
                let message = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(path, message));
            }
        }
        other => {
            let supported = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(path, other, &supported));
        }
    }
}

fn devices(container: &Value, path: &Path<'_>, volumes: &HashMap<&str, &Value>, errors: &mut Errors) {
    let (mut names, mut places) = (HashSet::new(), HashSet::new());
    for (index, device) in list(container, "volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (of_name, of_place) = (path.child("name"), path.child("devicePath"));
        let (name, place) = (text(device, "name"), text(device, "devicePath"));
        if name.is_empty() {
            errors.push(FieldError::required(&of_name, ""));
        }
        if names.contains(name) {
            errors.push(FieldError::invalid(&of_name, name, "must be unique"));
        }
        match volumes.get(name) {
            None => errors.push(FieldError::not_found(&of_name, name)),
            Some(volume) => {
                let of_claim =
                    ["persistentVolumeClaim", "ephemeral"].iter().any(|of| set(volume, of).is_some());
                if !of_claim {
                    let message = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(FieldError::invalid(&of_name, name, message));
                }
            }
        }
        if place.is_empty() {
            errors.push(FieldError::required(&of_place, ""));
        }
        if places.contains(place) {
            errors.push(FieldError::invalid(&of_place, place, "must be unique"));
        }
        if place.split('/').any(|part| part == "..") {
            errors.push(FieldError::invalid(&of_place, place, "can not contain backsteps ('..')"));
        } else {
            places.insert(place);
        }
        if any(container, "volumeMounts", "name", name) {
            errors.push(FieldError::invalid(&of_name, name, "must not already exist in volumeMounts"));
        }
        if any(container, "volumeMounts", "mountPath", place) {
            let message = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&of_place, place, message));
        }
        if !name.is_empty() {
            names.insert(name);
        }
    }
}

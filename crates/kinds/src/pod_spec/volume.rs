//! Rules of volumes and their mounts.

use std::collections::HashSet;

use serde_json::Value;

use model::validate::{Errors, flag, invalid, list, number, text};

use super::container;
use model::field::{FieldError, Path};
use model::names;

const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// What a file's `fieldRef` may name, besides single labels and annotations.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// Checks a pod's volumes and gives the names of the sound ones.
pub(crate) fn all<'a>(volumes: &'a [Value], path: &Path<'_>, errors: &mut Errors) -> HashSet<&'a str> {
    let mut names = HashSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        source(volume, &path, errors);
        let name = text(volume, "name");
        let name_path = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&name_path, ""));
            continue;
        }
        invalid(errors, &name_path, name, names::dns1123_label(name));
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&name_path, name));
        }
    }
    names
}

/// Checks a container's mounts.
pub(crate) fn mounts(container: &Value, path: &Path<'_>, volumes: &HashSet<&str>, errors: &mut Errors) {
    let mounts = path.child("volumeMounts");
    let mut places = HashSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = mounts.index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        let place = text(mount, "mountPath");
        if place.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        }
        if !places.insert(place) {
            errors.push(FieldError::invalid(&path.child("mountPath"), place, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            local_path(text(mount, field), &path.child(field), errors);
        }
        let propagation = text(mount, "mountPropagation");
        let supported = ["Bidirectional", "HostToContainer", "None"];
        if !propagation.is_empty() && !supported.contains(&propagation) {
            errors.push(FieldError::not_supported(&path.child("mountPropagation"), propagation, &supported));
        }
        let recursive = text(mount, "recursiveReadOnly");
        let supported = ["Disabled", "Enabled", "IfPossible"];
        if !recursive.is_empty() && !supported.contains(&recursive) {
            errors.push(FieldError::not_supported(&path.child("recursiveReadOnly"), recursive, &supported));
        }
        if ["Enabled", "IfPossible"].contains(&recursive) {
            let path = path.child("recursiveReadOnly");
            if !flag(mount, "readOnly") {
                errors.push(FieldError::forbidden(&path, "may only be specified when readOnly is true"));
            }
            if !["", "None"].contains(&propagation) {
                let message = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&path, message));
            }
        }
        let privileged = container.get("securityContext").is_some_and(|context| flag(context, "privileged"));
        if propagation == "Bidirectional" && !privileged {
            let message = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(&path.child("mountPropagation"), message));
        }
    }
}

fn source(volume: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut given = 0;
    let sources = volume.as_object().into_iter().flatten().filter(|(name, _)| *name != "name");
    for (name, source) in sources {
        given += 1;
        let path = path.child(name);
        if given > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        match name.as_str() {
            "hostPath" => host_path(source, &path, errors),
            "emptyDir" => empty_dir(source, &path, errors),
            "secret" => {
                if text(source, "secretName").is_empty() {
                    errors.push(FieldError::required(&path.child("secretName"), ""));
                }
                files(source, &path, errors);
            }
            "configMap" => {
                if text(source, "name").is_empty() {
                    errors.push(FieldError::required(&path.child("name"), ""));
                }
                files(source, &path, errors);
            }
            "downwardAPI" => {
                mode(source, "defaultMode", &path, errors);
                downward_files(source, &path, errors);
            }
            "projected" => projected(source, &path, errors),
            "persistentVolumeClaim" if text(source, "claimName").is_empty() => {
                errors.push(FieldError::required(&path.child("claimName"), ""));
            }
            "nfs" => {
                for name in ["server", "path"] {
                    if text(source, name).is_empty() {
                        errors.push(FieldError::required(&path.child(name), ""));
                    }
                }
            }
            _ => {}
        }
    }
    if given == 0 {
        errors.push(FieldError::required(path, "must specify a volume type"));
    }
}

fn host_path(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let place = text(source, "path");
    if place.is_empty() {
        errors.push(FieldError::required(&path.child("path"), ""));
    } else if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(&path.child("path"), place, "must not contain '..'"));
    }
    let kind = text(source, "type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &HOST_PATH_TYPES));
    }
}

fn empty_dir(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    if text(source, "sizeLimit").starts_with('-') {
        let message = "SizeLimit field must be a valid resource quantity";
        errors.push(FieldError::forbidden(&path.child("sizeLimit"), message));
    }
}

fn projected(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    let sources = path.child("sources");
    for (index, source) in list(source, "sources").iter().enumerate() {
        let path = sources.index(index);
        let kinds: Vec<&String> = source.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        if kinds.len() > 1 {
            errors.push(FieldError::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        for (name, source) in source.as_object().into_iter().flatten() {
            let path = path.child(name);
            match name.as_str() {
                "secret" | "configMap" => {
                    if text(source, "name").is_empty() {
                        errors.push(FieldError::required(&path.child("name"), ""));
                    }
                    files(source, &path, errors);
                }
                "downwardAPI" => downward_files(source, &path, errors),
                "serviceAccountToken" => {
                    let seconds = number(source, "expirationSeconds").unwrap_or_default();
                    if seconds < 600 {
                        let message = "may not specify a duration less than 10 minutes";
                        errors.push(FieldError::invalid(&path.child("expirationSeconds"), seconds, message));
                    }
                    if text(source, "path").is_empty() {
                        errors.push(FieldError::required(&path.child("path"), ""));
                    } else {
                        local_path(text(source, "path"), &path.child("path"), errors);
                    }
                }
                _ => {}
            }
        }
    }
}

/// The keys of a config map or secret that become files.
fn files(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    let items = path.child("items");
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = items.index(index);
        if text(item, "key").is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        }
        if text(item, "path").is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        } else {
            local_path(text(item, "path"), &path.child("path"), errors);
        }
        mode(item, "mode", &path, errors);
    }
}

fn downward_files(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    let items = path.child("items");
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = items.index(index);
        if text(item, "path").is_empty() {
            errors.push(FieldError::required(&path.child("path"), ""));
        }
        local_path(text(item, "path"), &path.child("path"), errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(reference), None) => {
                container::field_reference(reference, &path.child("fieldRef"), &FILE_FIELDS, errors);
            }
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(&path, "resource", message));
            }
            (None, None) => {
                errors.push(FieldError::required(&path, "one of fieldRef and resourceFieldRef is required"));
            }
        }
        mode(item, "mode", &path, errors);
    }
}

fn mode(value: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = number(value, name).filter(|mode| !(0..=0o777).contains(mode)) {
        let message = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(&path.child(name), mode, message));
    }
}

/// A path that may not leave where it is put.
fn local_path(place: &str, path: &Path<'_>, errors: &mut Errors) {
    if place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

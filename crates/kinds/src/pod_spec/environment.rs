//! Rules of a container's variables.

use std::collections::HashMap;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, list, text};

use super::reference;
use super::volume::{not_reserved, required, set};

/// The variables of the container `container`, which is at `path`.
pub(super) fn variables(
    container: &Value,
    path: &Path<'_>,
    volumes: &HashMap<&str, &Value>,
    errors: &mut Errors,
) {
    let variables = path.child("env");
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = variables.index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            invalid(errors, &path.child("name"), name, names::environment_variable(name));
        }
        if let Some(source) = set(variable, "valueFrom") {
            source_of(source, variable, &path.child("valueFrom"), volumes, errors);
        }
    }
    sources(container, &path.child("envFrom"), errors);
}

/// Whole objects whose entries become variables.
fn sources(container: &Value, path: &Path<'_>, errors: &mut Errors) {
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        let of_source = path.index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            invalid(errors, &of_source.child("prefix"), prefix, names::environment_variable(prefix));
        }
        let mut given = 0;
        for kind in ["configMapRef", "secretRef"] {
            let Some(reference) = set(source, kind) else { continue };
            given += 1;
            let path = of_source.child(kind);
            let path = path.child("name");
            let name = text(reference, "name");
            if name.is_empty() {
                errors.push(FieldError::required(&path, ""));
            } else {
                invalid(errors, &path, name, names::dns1123_subdomain(name.trim_end_matches('-')));
            }
        }
        // Kubernetes tells of the list, not of the item.
        if given == 0 {
            let message = "must specify one of: `configMapRef` or `secretRef`";
            errors.push(FieldError::invalid(path, "", message));
        } else if given > 1 {
            let message = "may not have more than one field specified at a time";
            errors.push(FieldError::invalid(path, "", message));
        }
    }
}

fn source_of(
    source: &Value,
    variable: &Value,
    path: &Path<'_>,
    volumes: &HashMap<&str, &Value>,
    errors: &mut Errors,
) {
    let mut given = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let Some(reference) = set(source, kind) else { continue };
        given += 1;
        let path = path.child(kind);
        match kind {
            "fieldRef" => reference::field(reference, &path, &reference::OF_VARIABLES, errors),
            "resourceFieldRef" => reference::resource(reference, &path, false, errors),
            "fileKeyRef" => file_key(reference, &path, volumes, errors),
            _ => {
                let name = text(reference, "name");
                invalid(errors, &path.child("name"), name, names::dns1123_subdomain(name));
                let key = text(reference, "key");
                if key.is_empty() {
                    errors.push(FieldError::required(&path.child("key"), ""));
                } else {
                    invalid(errors, &path.child("key"), key, names::config_key(key));
                }
            }
        }
    }
    if given == 0 {
        let message = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", message));
    } else if !text(variable, "value").is_empty() {
        errors.push(FieldError::invalid(path, "", "may not be specified when `value` is not empty"));
    } else if given > 1 {
        errors.push(FieldError::invalid(path, "", "may not have more than one field specified at a time"));
    }
}

/// A variable from a file that another container of the pod writes.
fn file_key(reference: &Value, path: &Path<'_>, volumes: &HashMap<&str, &Value>, errors: &mut Errors) {
    let volume = text(reference, "volumeName");
    let of_volume = path.child("volumeName");
    if volume.is_empty() {
        errors.push(FieldError::required(&of_volume, ""));
    } else {
        match volumes.get(volume) {
            None => errors.push(FieldError::not_found(&of_volume, volume)),
            Some(source) if set(source, "emptyDir").is_none() => {
                let message = "referenced volume must be of type emptyDir";
                errors.push(FieldError::invalid(&of_volume, volume, message));
            }
            Some(_) => {}
        }
    }
    let place = text(reference, "path");
    required(errors, reference, "path", path);
    not_reserved(place, &path.child("path"), errors);
    let key = text(reference, "key");
    if key.is_empty() {
        errors.push(FieldError::required(&path.child("key"), ""));
    } else {
        invalid(errors, &path.child("key"), key, names::environment_variable(key));
    }
}

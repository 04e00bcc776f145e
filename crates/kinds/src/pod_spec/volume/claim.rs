//! Rules of claims that are made for a pod, from a template in its spec.

use serde_json::Value;

use model::Quantity;
use model::field::{FieldError, Path};
use model::names;
use model::object::StringMap;
use model::validate::{Errors, entries, invalid, list, metadata, text};

use super::set;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// A template of claims.
pub(super) fn template(template: &Value, path: &Path<'_>, errors: &mut Errors) {
    let of_metadata = path.child("metadata");
    let empty = Value::Null;
    let metadata = template.get("metadata").unwrap_or(&empty);
    let texts = |name: &str| StringMap::new(metadata.get(name).and_then(Value::as_object));
    metadata::annotations(texts("annotations"), &of_metadata.child("annotations"), errors);
    metadata::labels(texts("labels"), &of_metadata.child("labels"), errors);
    for (name, _) in entries(template, "metadata") {
        if !["annotations", "labels"].contains(&name.as_str()) {
            errors.push(FieldError::forbidden(&of_metadata.child(name), "cannot be set"));
        }
    }
    spec(template.get("spec").unwrap_or(&empty), &path.child("spec"), errors);
}

/// What a claim asks for.
fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let modes = list(spec, "accessModes");
    let of_modes = path.child("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&of_modes, "at least 1 access mode is required"));
    }
    if let Some(selector) = set(spec, "selector") {
        metadata::selector(selector, &path.child("selector"), errors);
    }
    let (mut of_one_pod, mut of_others) = (false, false);
    for mode in modes.iter().filter_map(Value::as_str) {
        if !ACCESS_MODES.contains(&mode) {
            errors.push(FieldError::not_supported(&of_modes, mode, &ACCESS_MODES));
        } else if mode == "ReadWriteOncePod" {
            of_one_pod = true;
        } else {
            of_others = true;
        }
    }
    if of_one_pod && of_others {
        let message = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(&of_modes, message));
    }
    let resources = path.child("resources");
    let of_storage = resources.key("storage");
    match spec.pointer("/resources/requests/storage") {
        None => errors.push(FieldError::required(&of_storage, "")),
        Some(amount) => {
            if let Some(size) =
                Quantity::from_json(amount).filter(|size| size.is_negative() || size.is_zero())
            {
                errors.push(FieldError::invalid(&of_storage, size.to_string(), "must be greater than zero"));
            }
        }
    }
    class_name(spec, "storageClassName", path, errors);
    if let Some(mode) = set(spec, "volumeMode").and_then(Value::as_str)
        && !VOLUME_MODES.contains(&mode)
    {
        errors.push(FieldError::not_supported(&path.child("volumeMode"), mode, &VOLUME_MODES));
    }
    for name in ["dataSource", "dataSourceRef"] {
        if let Some(source) = set(spec, name) {
            data_source(source, &path.child(name), errors);
        }
    }
    if let (Some(source), Some(reference)) = (set(spec, "dataSource"), set(spec, "dataSourceRef")) {
        let same = ["apiGroup", "kind", "name"].iter().all(|name| source.get(name) == reference.get(name));
        if !same {
            let value = path.child("dataSource").to_string();
            errors.push(FieldError::invalid(path, value, "must match dataSourceRef"));
        }
    }
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn class_name(spec: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    let class = text(spec, name);
    if !class.is_empty() {
        invalid(errors, &path.child(name), class, names::dns1123_subdomain(class));
    }
}

fn data_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    super::required(errors, source, "name", path);
    super::required(errors, source, "kind", path);
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, message));
    }
    if !group.is_empty() {
        invalid(errors, &path.child("apiGroup"), group, names::dns1123_subdomain(group));
    }
}

//! Rules of PersistentVolumeClaim.

use model::field::{FieldError, Path};
use model::names::{dns1123_label, dns1123_subdomain};
use model::validate::{Errors, entries, immutable, invalid, metadata, text};
use model::{Object, Quantity};
use serde_json::Value;

use crate::claims::{OLD_CLASS, class_and_mode, class_name, modes};
use crate::difference::difference;
use crate::pod_spec::volume::set;
use crate::resource_names::{not_negative, positive};

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    spec(object.get(&["spec"]).unwrap_or(&empty), &Path::root("spec"), errors);
}

/// What a claim asks for.
pub(crate) fn spec(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    modes(spec, "at least 1 access mode is required", path, errors);
    if let Some(selector) = set(spec, "selector") {
        metadata::selector(selector, &path.child("selector"), errors);
    }
    let resources = path.child("resources");
    let storage = resources.key("storage");
    match spec.pointer("/resources/requests/storage") {
        None => errors.push(FieldError::required(&storage, "")),
        Some(amount) => drop(positive(amount, &storage, errors)),
    }
    class_and_mode(spec, path, errors);
    for name in ["dataSource", "dataSourceRef"] {
        if let Some(source) = set(spec, name) {
            data_source(source, &path.child(name), errors);
        }
    }
    if let (Some(source), Some(other)) = (set(spec, "dataSource"), set(spec, "dataSourceRef")) {
        let place = path.child("dataSource").to_string();
        let same = |field: &str| source.get(field) == other.get(field);
        if !text(other, "namespace").is_empty() {
            let message = "may not be specified when dataSourceRef.namespace is specified";
            errors.push(FieldError::invalid(path, place, message));
        } else if !["apiGroup", "kind", "name"].into_iter().all(same) {
            errors.push(FieldError::invalid(path, place, "must match dataSourceRef"));
        }
    }
    class_name(spec, "volumeAttributesClassName", path, errors);
}

fn data_source(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["name", "kind"] {
        if text(source, name).is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() {
        if kind != "PersistentVolumeClaim" {
            let message = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid(path, kind, message));
        }
    } else {
        invalid(errors, &path.child("apiGroup"), group, dns1123_subdomain(group));
    }
    let namespace = text(source, "namespace");
    if !namespace.is_empty() {
        invalid(errors, &path.child("namespace"), namespace, dns1123_label(namespace));
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let before = old.get(&["spec"]).unwrap_or(&empty);
    let spec = Path::root("spec");
    class_annotation(object, old, errors);
    let expected = with_allowed_changes(object, old);
    if expected != *before {
        let message = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
             claims\n{}",
            difference(&expected, before)
        );
        errors.push(FieldError::forbidden(&spec, message));
    }
    size(object, old, errors);
    // Kubernetes leaves the spec out of this place.
    let place = ["spec", "volumeMode"];
    immutable(errors, object.get(&place), old.get(&place), &Path::root("volumeMode"));
    let place = ["spec", "volumeAttributesClassName"];
    if old.get(&place).is_some() {
        let path = spec.child("volumeAttributesClassName");
        let message = match object.get_str(&place) {
            None => "update from non-nil value to nil is forbidden",
            Some("") if old.get_str(&place) != Some("") => {
                "update from non-nil value to an empty string is forbidden"
            }
            Some(_) => return,
        };
        errors.push(FieldError::forbidden(&path, message));
    }
}

/// Whether the class moves from its old place to the new one.
fn class_moves(object: &Object, old: &Object) -> bool {
    const CLASS: [&str; 2] = ["spec", "storageClassName"];
    old.annotation(OLD_CLASS).is_some()
        && old.get(&CLASS).is_none()
        && object.get_str(&CLASS) == old.annotation(OLD_CLASS)
        && object.annotation(OLD_CLASS).is_none_or(|class| Some(class) == old.annotation(OLD_CLASS))
}

fn class_annotation(object: &Object, old: &Object, errors: &mut Errors) {
    if class_moves(object, old) || object.annotation(OLD_CLASS) == old.annotation(OLD_CLASS) {
        return;
    }
    let metadata = Path::root("metadata");
    let annotations = metadata.child("annotations");
    let now = object.annotation(OLD_CLASS).unwrap_or_default();
    errors.push(FieldError::invalid(&annotations.key(OLD_CLASS), now, "field is immutable"));
}

/// The new spec with all that may change set back.
fn with_allowed_changes(object: &Object, old: &Object) -> Value {
    let mut expected = object.clone();
    let mut set_back = |place: &[&str]| match old.get(place) {
        Some(value) => expected.set(place, value.clone()),
        None => drop(expected.remove(place)),
    };
    // A volume is chosen once.
    if old.get_str(&["spec", "volumeName"]).is_none_or(str::is_empty) {
        set_back(&["spec", "volumeName"]);
    }
    let was = old.annotation(OLD_CLASS);
    let now = object.get_str(&["spec", "storageClassName"]);
    let fills = now.is_some() && old.get(&["spec", "storageClassName"]).is_none();
    if class_moves(object, old) || fills && was.is_none_or(|was| Some(was) == now) {
        set_back(&["spec", "storageClassName"]);
    }
    let is_bound = object.get_str(&["status", "phase"]) == Some("Bound");
    if is_bound && object.get(&["spec", "resources", "requests"]).is_some() {
        set_back(&["spec", "resources", "requests", "storage"]);
    }
    set_back(&["spec", "volumeAttributesClassName"]);
    expected.get(&["spec"]).cloned().unwrap_or(Value::Null)
}

/// A claim may ask for less only as long as it has not got that much.
fn size(object: &Object, old: &Object, errors: &mut Errors) {
    let amount = |object: &Object, place: &[&str]| {
        object.get(place).and_then(Quantity::from_json).unwrap_or(Quantity::ZERO)
    };
    let place = ["spec", "resources", "requests", "storage"];
    let (new, before) = (amount(object, &place), amount(old, &place));
    if new < before && new <= amount(old, &["status", "capacity", "storage"]) {
        let spec = Path::root("spec");
        let path = spec.child("resources");
        let path = path.child("requests");
        let message = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(&path.child("storage"), message));
    }
}

pub(super) fn status(object: &Object, _: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let path = Path::root("status");
    if object.get_list(&["spec", "accessModes"]).is_empty() {
        let spec = Path::root("Spec");
        errors.push(FieldError::required(&spec.child("accessModes"), "at least 1 access mode is required"));
    }
    let status = object.get(&["status"]).unwrap_or(&empty);
    for list in ["capacity", "allocatedResources"] {
        let path = path.child(list);
        for (name, amount) in entries(status, list) {
            not_negative(amount, &path.key(name), errors);
        }
    }
    let (statuses, path) = (
        [
            "ControllerResizeInProgress",
            "ControllerResizeInfeasible",
            "NodeResizePending",
            "NodeResizeInProgress",
            "NodeResizeInfeasible",
        ],
        path.child("allocatedResourceStatuses"),
    );
    for (name, value) in entries(status, "allocatedResourceStatuses") {
        let value = value.as_str().unwrap_or_default();
        if !statuses.contains(&value) {
            errors.push(FieldError::not_supported(&path.key(name), value, &statuses));
        }
    }
}

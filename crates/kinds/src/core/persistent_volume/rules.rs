//! Rules of PersistentVolume.

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, entries, immutable, text};
use serde_json::{Map, Value};

use super::source;
use crate::claims::{class_and_mode, class_name, modes};
use crate::difference::difference;
use crate::resource_names::positive;

const POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];

pub(super) fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    modes(spec, "", &path, errors);
    capacity(spec, &path, errors);
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !POLICIES.contains(&policy) {
        let path = path.child("persistentVolumeReclaimPolicy");
        errors.push(FieldError::not_supported(&path, policy, &POLICIES));
    }
    let is_bound_to_nodes = source::node_affinity(spec, &path, errors);
    source::one(spec, is_bound_to_nodes, &path, errors);
    let is_root = |place: &str| !place.is_empty() && place.split('/').all(|part| matches!(part, "" | "."));
    let on_host = spec.get("hostPath").map(|host| text(host, "path")).unwrap_or_default();
    if is_root(on_host) && policy == "Recycle" {
        let message = "may not be 'recycle' for a hostPath mount of '/'";
        errors.push(FieldError::forbidden(&path.child("persistentVolumeReclaimPolicy"), message));
    }
    class_and_mode(spec, &path, errors);
    if let Some(class) = spec.get("volumeAttributesClassName").and_then(Value::as_str) {
        if class.is_empty() {
            let path = path.child("volumeAttributesClassName");
            errors.push(FieldError::required(&path, "an empty string is disallowed"));
        }
        class_name(spec, "volumeAttributesClassName", &path, errors);
        if spec.get("csi").is_none() {
            let message = "has to be specified when using volumeAttributesClassName";
            errors.push(FieldError::required(&path.child("csi"), message));
        }
    }
}

fn capacity(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("capacity");
    let amounts = spec.get("capacity").and_then(Value::as_object);
    if amounts.is_none_or(Map::is_empty) {
        errors.push(FieldError::required(&path, ""));
    }
    if amounts.is_none_or(|amounts| amounts.len() != 1 || !amounts.contains_key("storage")) {
        let shown = amounts.cloned().map_or(Value::Null, Value::Object);
        errors.push(FieldError::not_supported(&path, shown, &["storage"]));
    }
    for (name, amount) in entries(spec, "capacity") {
        positive(amount, &path.key(name), errors);
    }
}

pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let (mut new, before) = (source::of(object), source::of(old));
    // Who grows a volume may be named later.
    let place = "/csi/controllerExpandSecretRef";
    if before.get("csi").is_some()
        && before.pointer(place).is_none()
        && let Some(csi) = new.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.shift_remove("controllerExpandSecretRef");
    }
    let spec = Path::root("spec");
    if new != before {
        let message =
            format!("spec.persistentvolumesource is immutable after creation\n{}", difference(&new, &before));
        errors.push(FieldError::forbidden(&spec.child("persistentvolumesource"), message));
    }
    // Kubernetes leaves the spec out of this place.
    let place = ["spec", "volumeMode"];
    immutable(errors, object.get(&place), old.get(&place), &Path::root("volumeMode"));
    let place = ["spec", "nodeAffinity"];
    if let Some(before) = old.get(&place) {
        immutable(errors, object.get(&place), Some(before), &Path::root("nodeAffinity"));
    }
    let place = ["spec", "volumeAttributesClassName"];
    if old.get(&place).is_some() && object.get(&place).is_none() {
        let message = "update from non-nil value to nil is forbidden";
        errors.push(FieldError::forbidden(&spec.child("volumeAttributesClassName"), message));
    }
}

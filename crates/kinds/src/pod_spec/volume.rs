//! Rules of volumes.

mod claim;
mod files;
mod source;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, invalid, list, number, text};

use super::rules::Whole;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// What is set in a field; JSON's null is as good as nothing.
pub(crate) fn set<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|field| !field.is_null())
}

/// A text that must be there.
pub(crate) fn required(errors: &mut Errors, value: &Value, name: &str, path: &Path<'_>) {
    if text(value, name).is_empty() {
        errors.push(FieldError::required(&path.child(name), ""));
    }
}

/// Checks a pod's volumes and gives the sound ones by their names.
pub(crate) fn all<'a>(
    spec: &'a Value,
    whole: Whole<'a>,
    path: &Path<'_>,
    errors: &mut Errors,
) -> HashMap<&'a str, &'a Value> {
    let volumes = list(spec, "volumes");
    // Claims that are made for this pod are of this pod alone.
    let made: HashSet<String> = volumes
        .iter()
        .filter(|volume| set(volume, "ephemeral").is_some())
        .filter_map(|volume| Some(format!("{}-{}", whole.pod_name?, text(volume, "name"))))
        .collect();
    let mut sound = HashMap::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        source::one_of_all(volume, whole, &path, errors);
        let name = text(volume, "name");
        let name_path = path.child("name");
        if name.is_empty() {
            errors.push(FieldError::required(&name_path, ""));
        } else {
            invalid(errors, &name_path, name, names::dns1123_label(name));
        }
        if sound.contains_key(name) {
            errors.push(FieldError::duplicate(&name_path, name));
        }
        if errors.len() == before {
            sound.insert(name, volume);
        }
        let claim = set(volume, "persistentVolumeClaim").map_or("", |claim| text(claim, "claimName"));
        if made.contains(claim) {
            let path = path.child("persistentVolumeClaim");
            let message = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid(&path.child("claimName"), claim, message));
        }
    }
    sound
}

/// A token of an account that the pod has not: rules of pods alone.
pub(crate) fn tokens(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    if !text(spec, "serviceAccountName").is_empty() {
        return;
    }
    let volumes = path.child("volumes");
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let Some(projected) = set(volume, "projected") else { continue };
        let path = volumes.index(index);
        let (path, sources) = (path.child("projected"), list(projected, "sources"));
        let path = path.child("sources");
        for (index, _) in sources.iter().enumerate().filter(|(_, s)| set(s, "serviceAccountToken").is_some())
        {
            let message = "must not be specified when serviceAccountName is not set";
            errors.push(FieldError::forbidden(&path.index(index).child("serviceAccountToken"), message));
        }
    }
}

fn mode(value: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    if let Some(mode) = number(value, name).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(FieldError::invalid(&path.child(name), mode, MODE));
    }
}

/// A path that may not leave where it is put.
pub(super) fn descending(place: &str, path: &Path<'_>, errors: &mut Errors) {
    if place.starts_with('/') {
        errors.push(FieldError::invalid(path, place, "must be a relative path"));
    }
    no_backsteps(place, path, errors);
}

/// A path without any way up.
pub(super) fn no_backsteps(place: &str, path: &Path<'_>, errors: &mut Errors) {
    if place.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, place, "must not contain '..'"));
    }
}

/// A path that may not leave where it is put, nor begin with what Kubernetes keeps to itself.
pub(super) fn not_reserved(place: &str, path: &Path<'_>, errors: &mut Errors) {
    descending(place, path, errors);
    // What is above has been told of.
    if place.starts_with("..") && !place.starts_with("../") {
        errors.push(FieldError::invalid(path, place, "must not start with '..'"));
    }
}

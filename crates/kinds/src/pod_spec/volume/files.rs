//! Volumes that are files of other objects, or of what the pod itself says: secrets, config maps, the
//! downward API, and all of them in one.

use std::collections::HashSet;

use serde_json::Value;

use model::field::{FieldError, Path};
use model::validate::{Errors, list, number, text};

use super::{mode, not_reserved, required, set};
use crate::pod_spec::reference;

/// A secret or a config map, which is called by the field `name`.
pub(super) fn of_object(source: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) {
    required(errors, source, name, path);
    mode(source, "defaultMode", path, errors);
    items(source, path, errors, &mut |_, _| {});
}

/// What the pod itself says.
pub(super) fn downward(source: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(source, "defaultMode", path, errors);
    for file in list(source, "items") {
        downward_file(file, path, errors);
    }
}

/// All of them in one.
pub(super) fn projected(projected: &Value, path: &Path<'_>, errors: &mut Errors) {
    mode(projected, "defaultMode", path, errors);
    let sources = path.child("sources");
    let mut places: HashSet<String> = HashSet::new();
    for (index, source) in list(projected, "sources").iter().enumerate() {
        let of_source = sources.index(index);
        let mut given = 0;
        for kind in ["secret", "configMap"] {
            let Some(source) = set(source, kind) else { continue };
            given += 1;
            let of_kind = of_source.child(kind);
            required(errors, source, "name", &of_kind);
            items(source, &of_kind, errors, &mut |place, errors| {
                if !place.is_empty() && !places.insert(place.to_owned()) {
                    let message = "conflicting duplicate paths";
                    errors.push(FieldError::invalid(path, text(source, "name"), message));
                }
            });
        }
        let mut once = |place: &str, errors: &mut Errors| {
            if !places.insert(place.to_owned()) {
                errors.push(FieldError::invalid(path, place, "conflicting duplicate paths"));
            }
        };
        if let Some(source) = set(source, "downwardAPI") {
            given += 1;
            for file in list(source, "items") {
                downward_file(file, &of_source.child("downwardAPI"), errors);
                let place = text(file, "path");
                if !place.is_empty() {
                    once(place, errors);
                }
            }
        }
        if let Some(token) = set(source, "serviceAccountToken") {
            given += 1;
            token_of_account(token, path, &of_source.child("serviceAccountToken"), errors);
        }
        for kind in ["clusterTrustBundle", "podCertificate"] {
            given += usize::from(set(source, kind).is_some());
        }
        if given > 1 {
            let message = "may not specify more than 1 volume type per source";
            errors.push(FieldError::forbidden(&of_source, message));
        }
    }
}

fn token_of_account(token: &Value, of_volume: &Path<'_>, path: &Path<'_>, errors: &mut Errors) {
    let seconds = number(token, "expirationSeconds").unwrap_or_default();
    let expiration = path.child("expirationSeconds");
    if seconds < 600 {
        let message = "may not specify a duration less than 10 minutes";
        errors.push(FieldError::invalid(&expiration, seconds, message));
    }
    if seconds > 1 << 32 {
        let message = "may not specify a duration larger than 2^32 seconds";
        errors.push(FieldError::invalid(&expiration, seconds, message));
    }
    // Kubernetes looks for it in the volume, not in the source.
    let (place, of_place) = (text(token, "path"), of_volume.child("path"));
    if place.is_empty() {
        errors.push(FieldError::required(&of_place, ""));
    } else {
        not_reserved(place, &of_place, errors);
    }
}

/// The keys of a config map or secret that become files; each one's place is given to `each`.
fn items(source: &Value, path: &Path<'_>, errors: &mut Errors, each: &mut dyn FnMut(&str, &mut Errors)) {
    let items = path.child("items");
    for (index, item) in list(source, "items").iter().enumerate() {
        let path = items.index(index);
        required(errors, item, "key", &path);
        required(errors, item, "path", &path);
        not_reserved(text(item, "path"), &path.child("path"), errors);
        mode(item, "mode", &path, errors);
        each(text(item, "path"), errors);
    }
}

/// A file of the downward API. Kubernetes says which volume it is of, not which item it is.
fn downward_file(file: &Value, path: &Path<'_>, errors: &mut Errors) {
    required(errors, file, "path", path);
    not_reserved(text(file, "path"), &path.child("path"), errors);
    match (set(file, "fieldRef"), set(file, "resourceFieldRef")) {
        (Some(field), other) => {
            reference::field(field, &path.child("fieldRef"), &reference::OF_FILES, errors);
            if other.is_some() {
                let message = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.push(FieldError::invalid(path, "resource", message));
            }
        }
        (None, Some(resource)) => {
            reference::resource(resource, &path.child("resourceFieldRef"), true, errors);
        }
        (None, None) => {
            errors.push(FieldError::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
    }
    mode(file, "mode", path, errors);
}

//! Containers that are added to a pod that runs, by a path of their own.

use std::collections::HashMap;

use model::Object;
use model::field::{FieldError, Path, quote};
use model::validate::{Errors, text};

use super::update as changes;
use crate::difference::difference;
use crate::pod_spec::security::annotations::MIRROR;

/// The subresource that adds them.
pub(super) const PART: &str = "ephemeralcontainers";

const CONTAINERS: [&str; 2] = ["spec", "ephemeralContainers"];

/// `old` with the containers of `new`, and with what that says of who manages which fields.
pub(super) fn update(new: &Object, old: &Object) -> Object {
    let mut updated = old.clone();
    for path in [CONTAINERS, ["metadata", "managedFields"]] {
        match new.get(&path) {
            Some(value) => updated.set(&path, value.clone()),
            None => drop(updated.remove(&path)),
        }
    }
    updated
}

/// They may be added; those that are there stay as they are.
pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    changes::annotations(object, old, errors);
    if old.annotations().contains_key(MIRROR) {
        // So Kubernetes calls the place.
        let message = "static pods do not support ephemeral containers";
        errors.push(FieldError::forbidden(&Path::root("[]"), message));
        return;
    }
    let path = Path::root("spec");
    let path = path.child("ephemeralContainers");
    let new = object.get_list(&CONTAINERS).iter();
    let new: HashMap<&str, _> = new.map(|container| (text(container, "name"), container)).collect();
    for before in old.get_list(&CONTAINERS) {
        let name = quote(text(before, "name"));
        let message = match new.get(text(before, "name")) {
            None => format!("existing ephemeral containers {name} may not be removed\n"),
            Some(after) if *after != before => {
                let difference = difference(after, before);
                format!("existing ephemeral containers {name} may not be changed\n{difference}")
            }
            Some(_) => continue,
        };
        errors.push(FieldError::forbidden(&path, message));
    }
}

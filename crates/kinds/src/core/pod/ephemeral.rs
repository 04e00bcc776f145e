//! Containers that are added to a pod that runs, by a path of their own.

use std::collections::HashMap;

use apiserver::Subresource;
use model::Object;
use model::field::{FieldError, Path, quote};
use model::validate::{Errors, Functions, text};

use super::{rules, update};
use crate::difference::difference;
use crate::pod_spec::security::annotations::MIRROR;

const CONTAINERS: [&str; 2] = ["spec", "ephemeralContainers"];

pub(super) fn subresource() -> Subresource {
    Subresource::piece("ephemeralcontainers", put, Functions::of(rules::object).change(change))
}

fn put(new: &Object, object: &mut Object) {
    match new.get(&CONTAINERS) {
        Some(containers) => object.set(&CONTAINERS, containers.clone()),
        None => drop(object.remove(&CONTAINERS)),
    }
}

/// They may be added; those that are there stay as they are.
fn change(object: &Object, old: &Object, errors: &mut Errors) {
    update::annotations(object, old, errors);
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

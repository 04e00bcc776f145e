//! Rules of Pod.

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Rules, list, replacement, text};
use serde_json::Value;

use super::{ephemeral, resize, status, update};
use crate::pod_spec::container::images;
use crate::pod_spec::rules::{Whole, spec};
use crate::pod_spec::security::annotations;
use crate::pod_spec::volume;

/// The rules.
pub(super) struct Pods;

impl Rules for Pods {
    fn object(&self, pod: &Object, errors: &mut Errors) {
        object(pod, errors);
    }

    fn creation(&self, pod: &Object, errors: &mut Errors) {
        creation(pod, errors);
    }

    fn change(&self, pod: &Object, old: &Object, errors: &mut Errors) {
        update::change(pod, old, errors);
    }

    fn status(&self, pod: &Object, old: &Object, errors: &mut Errors) {
        status::change(pod, old, errors);
    }

    fn part(&self, part: &str, pod: &Object, old: &Object, errors: &mut Errors) {
        if part == ephemeral::PART {
            replacement(self, pod, old, errors);
            ephemeral::change(pod, old, errors);
        } else if part == resize::PART {
            if !resize::never(old, errors) {
                replacement(self, pod, old, errors);
                resize::change(pod, old, errors);
            }
        } else {
            self.status(pod, old, errors);
        }
    }
}

/// Rules of any pod.
fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let of_pod = object.get(&["spec"]).unwrap_or(&empty);
    let (metadata, path) = (Path::root("metadata"), Path::root("spec"));
    annotations::all(object.annotations(), of_pod, &metadata.child("annotations"), errors);
    spec(Whole::pod(of_pod, object.name()), &path, errors);
    volume::tokens(of_pod, &path, errors);
    for kind in ["containers", "initContainers"] {
        images(list(of_pod, kind), &path.child(kind), errors);
    }
}

/// Rules of new pods.
fn creation(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    let of_pod = object.get(&["spec"]).unwrap_or(&empty);
    let path = Path::root("spec");
    if !list(of_pod, "ephemeralContainers").is_empty() {
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), "cannot be set on create"));
    }
    if !text(of_pod, "nodeName").is_empty() && !list(of_pod, "schedulingGates").is_empty() {
        let message = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&path.child("nodeName"), message));
    }
    annotations::agree(object.annotations(), of_pod, &path, errors);
}

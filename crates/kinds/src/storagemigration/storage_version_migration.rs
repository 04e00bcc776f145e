//! StorageVersionMigrations: all objects of a resource are stored anew, in the version that is stored now.

use apiserver::Resource;
use k8s_openapi::api::storagemigration::v1beta1::StorageVersionMigration;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, invalid, list, text};
use serde_json::Value;

use crate::conditions;
use crate::features::{Features, STORAGE_MIGRATION};
use crate::spec_and_status::{KEEPS_METADATA, SpecAndStatus};

pub(crate) fn resource(features: &Features) -> Option<Resource> {
    let resource = Resource::of::<StorageVersionMigration>()
        .status()
        .rules(Functions::of(object).change(change).status(status))
        .strategy(SpecAndStatus::default().with_status().kept_by_status(KEEPS_METADATA));
    features.versions.has(STORAGE_MIGRATION).then_some(resource)
}

/// What is said of a migration as true or not.
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
const RUNNING: &str = "Running";

fn object(object: &Object, errors: &mut Errors) {
    if object.get_str(&["spec", "resource", "resource"]).unwrap_or_default().is_empty() {
        let (spec, name) = (Path::root("spec"), "resource");
        errors.push(FieldError::required(&spec.child(name).child(name), "resource is required"));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    for field in ["group", "resource"] {
        let of =
            |object: &Object| object.get_str(&["spec", "resource", field]).unwrap_or_default().to_owned();
        if of(object) != of(old) {
            errors.push(FieldError::invalid(&Path::root(field), of(object), "field is immutable"));
        }
    }
}

fn status(object: &Object, old: &Object, errors: &mut Errors) {
    let (empty, path) = (Value::Null, Path::root("status"));
    let (new, was) = (object.get(&["status"]).unwrap_or(&empty), old.get(&["status"]).unwrap_or(&empty));
    let (version, version_before) = (text(new, "resourceVersion"), text(was, "resourceVersion"));
    let version_path = path.child("resourceVersion");
    match version.parse::<i64>() {
        _ if version.is_empty() => {}
        Ok(0..) => {}
        Ok(negative) => {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(&version_path, negative, why));
        }
        Err(_) => {
            let why = format!(
                "failed to parse resource version {version:?}: strconv.ParseInt: parsing {version:?}: invalid syntax"
            );
            invalid(errors, &version_path, version, vec![why]);
        }
    }
    conditions::all(new, &path, errors);
    if !version_before.is_empty() && version_before != version {
        errors.push(FieldError::invalid(&version_path, version, "cannot be updated"));
    }
    let (succeeded, failed, running) = (holds(new, SUCCEEDED), holds(new, FAILED), holds(new, RUNNING));
    for (is_wrong, why) in [
        (succeeded && failed, "Both success and failed conditions cannot be true at the same time"),
        (succeeded && running, "Running condition cannot be true when success condition is true"),
        (failed && running, "Running condition cannot be true when failed condition is true"),
        (holds(was, SUCCEEDED) && !succeeded, "Success condition cannot be set to false once it is true"),
        (holds(was, FAILED) && !failed, "Failed condition cannot be set to false once it is true"),
    ] {
        if is_wrong {
            errors.push(FieldError::invalid(
                &path.child("conditions"),
                list(new, "conditions").to_vec(),
                why,
            ));
        }
    }
}

fn holds(status: &Value, kind: &str) -> bool {
    list(status, "conditions")
        .iter()
        .any(|known| text(known, "type") == kind && text(known, "status") == "True")
}

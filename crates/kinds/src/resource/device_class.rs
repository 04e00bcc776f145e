//! DeviceClasses: devices that are asked for by a name.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age};
use base::Timestamp;
use k8s_openapi::api::resource::v1::DeviceClass;
use model::Object;
use model::default::{Fields, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::device::claim;
use crate::spec_and_status::SpecAndStatus;

pub(crate) fn resource() -> Resource {
    Resource::of::<DeviceClass>()
        .defaults(defaults)
        .rules(Functions::of(object))
        .without_effect("no device is given to pods")
        .columns(COLUMNS, cells)
        .strategy(SpecAndStatus::default().counted())
}

const COLUMNS: &[Column] = &[NAME, AGE];

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let empty = Value::Null;
    let spec = object.get(&["spec"]).unwrap_or(&empty);
    claim::selectors(spec, &path, errors);
    claim::configurations(spec, &path, errors);
    if let Some(name) = spec.get("extendedResourceName").and_then(Value::as_str)
        && !is_extended(name)
    {
        let message = "must be a valid extended resource name";
        errors.push(FieldError::invalid(&path.child("extendedResourceName"), name, message));
    }
}

/// Whether a resource is one that Kubernetes knows nothing of.
fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native
        && !name.starts_with("requests.")
        && model::names::qualified(&format!("requests.{name}")).is_empty()
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), age(object, now)]
}

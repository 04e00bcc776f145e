//! VolumeAttributesClasses: properties that volumes can be given while they are in use.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, text as text_of};
use serde_json::Value;

use super::storage_class::{frozen, parameters, provisioner};

pub(crate) fn resource() -> Resource {
    Resource::of::<VolumeAttributesClass>()
        .short(&["vac"])
        .rules(Functions::of(object).change(change))
        .without_effect("no volume is changed by it")
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, text("DriverName", "Whose volumes it is for."), AGE];

fn object(object: &Object, errors: &mut Errors) {
    provisioner(text_of(object.value(), "driverName"), &Path::root("driverName"), errors);
    if !parameters(object.value(), errors) {
        let message = "must contain at least one key/value pair";
        errors.push(FieldError::required(&Path::root("parameters"), message));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    frozen(object, old, "driverName", errors);
    frozen(object, old, "parameters", errors);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), text_of(object.value(), "driverName").into(), age(object, now)]
}

//! CSIStorageCapacities: how much room there is for volumes of a class where.

use apiserver::Resource;
use apiserver::table::{Column, NAME, text};
use base::Timestamp;
use k8s_openapi::api::storage::v1::CSIStorageCapacity;
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, immutable, invalid, metadata, text as text_of};
use model::{Object, Quantity, names};
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    Resource::of::<CSIStorageCapacity>()
        .rules(Functions::of(object).change(change))
        .without_effect("no pod is placed by it")
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] =
    &[NAME, text("StorageClassName", "The class of volumes."), text("Capacity", "How much room there is.")];

fn object(object: &Object, errors: &mut Errors) {
    if let Some(topology) = object.get(&["nodeTopology"]) {
        metadata::selector(topology, &Path::root("nodeTopology"), errors);
    }
    let class = text_of(object.value(), "storageClassName");
    invalid(errors, &Path::root("storageClassName"), class, names::dns1123_subdomain(class));
    if let Some(capacity) = object.get(&["capacity"])
        && Quantity::from_json(capacity).is_some_and(Quantity::is_negative)
    {
        let message = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&Path::root("capacity"), capacity.clone(), message));
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    for field in ["nodeTopology", "storageClassName"] {
        immutable(errors, object.get(&[field]), old.get(&[field]), &Path::root(field));
    }
}

fn cells(object: &Object, _: Timestamp) -> Vec<Value> {
    vec![
        object.name().into(),
        text_of(object.value(), "storageClassName").into(),
        object.get_str(&["capacity"]).unwrap_or("<unset>").into(),
    ]
}

//! ResourceClaimTemplates: what each pod of many asks for.

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age};
use base::Timestamp;
use k8s_openapi::api::resource::v1::ResourceClaimTemplate;
use model::Object;
use model::default::{Fields, inside};
use model::field::Path;
use model::object::StringMap;
use model::validate::{Errors, Functions, immutable, metadata};
use serde_json::Value;

use crate::device;

pub(crate) fn resource() -> Resource {
    Resource::of::<ResourceClaimTemplate>()
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .without_effect("no device is given to pods")
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, AGE];

fn defaults(fields: &mut Fields) {
    let spec = inside(fields, "spec");
    inside(spec, "metadata");
    device::defaults::claim(inside(spec, "spec"));
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let metadata_path = path.child("metadata");
    let field =
        |name: &str| StringMap::new(object.get(&["spec", "metadata", name]).and_then(Value::as_object));
    metadata::labels(field("labels"), &metadata_path.child("labels"), errors);
    metadata::annotations(field("annotations"), &metadata_path.child("annotations"), errors);
    let empty = Value::Null;
    device::claim::spec(object.get(&["spec", "spec"]).unwrap_or(&empty), &path.child("spec"), errors);
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    immutable(errors, object.get(&["spec"]), old.get(&["spec"]), &Path::root("spec"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), age(object, now)]
}

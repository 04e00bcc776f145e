//! ResourceSlices: the devices that a driver has in a pool.

use apiserver::table::{AGE, Column, NAME, age, text};
use apiserver::{Admitting, Context, Resource, Strategy, at_once};
use base::Timestamp;
use k8s_openapi::api::resource::v1::ResourceSlice;
use model::Object;
use model::default::{Fields, each, existing, inside};
use model::select::Selectable;
use model::validate::{Errors, Functions};
use serde_json::Value;

use crate::device;

pub(crate) fn resource() -> Resource {
    Resource::of::<ResourceSlice>()
        .defaults(defaults)
        .rules(Functions::of(object).change(device::slice::change))
        .without_effect("no device is given to pods")
        .selectable(["spec.nodeName", "spec.driver"].map(Selectable::text))
        .columns(COLUMNS, cells)
        .strategy(Slices)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("Node", "The node that the devices are of."),
    text("Driver", "Whose devices they are."),
    text("Pool", "The pool that they are of."),
    AGE,
];

/// Notes when devices were tainted, and drops what is behind gates that are off.
struct Slices;

impl Strategy for Slices {
    fn admit_create<'a>(&'a self, context: &'a Context<'_>, object: &'a mut Object) -> Admitting<'a> {
        complete(context, object);
        at_once(Ok(()))
    }

    fn admit_update<'a>(
        &'a self,
        context: &'a Context<'_>,
        object: &'a mut Object,
        _: &'a Object,
    ) -> Admitting<'a> {
        complete(context, object);
        at_once(Ok(()))
    }

    fn counts_generations(&self) -> bool {
        true
    }
}

fn complete(context: &Context<'_>, slice: &mut Object) {
    const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
    let Some(spec) = existing(slice.fields_mut(), "spec") else { return };
    let now = model::time::format(context.now());
    for device in each(spec, "devices") {
        for taint in each(device, "taints") {
            if taint.get("timeAdded").is_none_or(Value::is_null) {
                taint.insert("timeAdded".into(), now.as_str().into());
            }
        }
        device.shift_remove("nodeAllocatableResourceMappings");
        let attributes = existing(device, "attributes").into_iter().flat_map(Fields::values_mut);
        for attribute in attributes.filter_map(Value::as_object_mut) {
            attribute.retain(|name, _| !LISTS.contains(&name.as_str()));
        }
    }
}

fn defaults(fields: &mut Fields) {
    inside(inside(fields, "spec"), "pool");
}

fn object(object: &Object, errors: &mut Errors) {
    let empty = Value::Null;
    device::slice::spec(object.get(&["spec"]).unwrap_or(&empty), errors);
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = |path: &[&str]| Value::from(object.get_str(path).unwrap_or_default());
    vec![
        object.name().into(),
        spec(&["spec", "nodeName"]),
        spec(&["spec", "driver"]),
        spec(&["spec", "pool", "name"]),
        age(object, now),
    ]
}

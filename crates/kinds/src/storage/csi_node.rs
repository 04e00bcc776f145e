//! CSINodes: which drivers of storage run on a node.

use std::collections::HashSet;

use apiserver::Resource;
use apiserver::table::{AGE, Column, NAME, age, integer};
use base::Timestamp;
use k8s_openapi::api::storage::v1::CSINode;
use model::default::{Fields, inside};
use model::field::{FieldError, Path};
use model::validate::{Errors, Functions, format, invalid, list, not_negative, text as text_of};
use model::{Object, names};
use serde_json::Value;

pub(crate) fn resource() -> Resource {
    Resource::of::<CSINode>()
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .without_effect("no volume is made or mounted by a driver")
        .columns(COLUMNS, cells)
}

const COLUMNS: &[Column] = &[NAME, integer("Drivers", "How many drivers are on the node."), AGE];
const LONGEST_NODE: usize = 192;

fn defaults(fields: &mut Fields) {
    inside(fields, "spec");
}

fn object(object: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let path = path.child("drivers");
    let mut seen = HashSet::new();
    for (index, driver) in object.get_list(&["spec", "drivers"]).iter().enumerate() {
        let path = path.index(index);
        let name = text_of(driver, "name");
        format::driver(errors, &path.child("name"), name);
        let node = text_of(driver, "nodeID");
        if node.is_empty() {
            errors.push(FieldError::required(&path.child("nodeID"), ""));
        }
        if node.len() > LONGEST_NODE {
            let message = format!("must be {LONGEST_NODE} characters or less");
            errors.push(FieldError::invalid(&path.child("nodeID"), node, message));
        }
        if let Some(allocatable) = driver.get("allocatable") {
            not_negative(errors, allocatable, "count", &path.child("allocatable"));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        let mut keys = HashSet::new();
        for key in list(driver, "topologyKeys").iter().filter_map(Value::as_str) {
            if key.is_empty() {
                errors.push(FieldError::required(&path, ""));
            }
            if !keys.insert(key) {
                errors.push(FieldError::duplicate(&path, key));
            }
            invalid(errors, &path, key, names::qualified(key));
        }
    }
}

/// Of a driver that stays, only how many volumes it takes may change.
fn change(object: &Object, old: &Object, errors: &mut Errors) {
    const DRIVERS: &[&str] = &["spec", "drivers"];
    let kept = |driver: &Value| {
        let mut driver = driver.clone();
        if let Some(fields) = driver.as_object_mut() {
            fields.shift_remove("allocatable");
        }
        driver
    };
    let path = Path::root("spec");
    for before in old.get_list(DRIVERS) {
        let same = object.get_list(DRIVERS).iter().filter(|driver| driver["name"] == before["name"]);
        for driver in same.filter(|driver| kept(driver) != kept(before)) {
            errors.push(FieldError::invalid(&path.child("drivers"), kept(driver), "field is immutable"));
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), object.get_list(&["spec", "drivers"]).len().into(), age(object, now)]
}

//! Rules of Node.

use std::collections::HashSet;

use serde_json::Value;

use model::Object;
use model::field::{FieldError, Path};
use model::names;
use model::validate::{Errors, entries, invalid, list, range, text};

use crate::pod_spec::rules::taint_effect;
use crate::resource_names::amount;

/// Rules of any node.
pub(super) fn object(object: &Object, errors: &mut Errors) {
    taints(object, errors);
    resources(object, errors);
    let path = Path::root("spec");
    let path = path.child("podCIDRs");
    let spec = object.get(&["spec"]).unwrap_or(&Value::Null);
    let ranges = list(spec, "podCIDRs");
    let texts = || ranges.iter().map(|range| range.as_str().unwrap_or_default());
    for (index, one) in texts().enumerate() {
        range(errors, &path.index(index), one);
    }
    let first = text(spec, "podCIDR");
    if !first.is_empty() && texts().next().is_some_and(|one| one != first) {
        errors.push(FieldError::invalid(&path.index(0), ranges.to_vec(), "must match `podCIDR`"));
    }
    if ranges.len() > 1 {
        let is_six = |range: &str| range.contains(':');
        let both = texts().any(is_six) && !texts().all(is_six);
        if !both || ranges.len() > 2 {
            let message = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid(&path, ranges.to_vec(), message));
        }
        let mut known = HashSet::new();
        for (index, one) in texts().enumerate().filter(|(_, one)| !known.insert(*one)) {
            errors.push(FieldError::duplicate(&path.index(index), one));
        }
    }
}

/// Rules of the change of a node, or of its status.
pub(super) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    addresses(object, errors);
    let path = Path::root("spec");
    let of = |object: &Object, name: &str| object.get(&["spec", name]).cloned();
    let ranges = |object: &Object| match of(object, "podCIDRs") {
        Some(Value::Array(ranges)) if !ranges.is_empty() => ranges,
        _ => of(object, "podCIDR").into_iter().filter(|range| *range != "").collect(),
    };
    let (new_ranges, old_ranges) = (ranges(object), ranges(old));
    const RANGES: &str = "node updates may not change podCIDR except from \"\" to valid";
    if !old_ranges.is_empty() {
        let path = path.child("podCIDRs");
        if old_ranges.len() != new_ranges.len() {
            errors.push(FieldError::forbidden(&path, RANGES));
        } else {
            for _ in old_ranges.iter().zip(&new_ranges).filter(|(old, new)| old != new) {
                errors.push(FieldError::forbidden(&path, RANGES));
            }
        }
    }
    let provider = of(old, "providerID").filter(|provider| *provider != "");
    if provider.is_some() && provider != of(object, "providerID") {
        let message = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&path.child("providerID"), message));
    }
    let external = |object: &Object| object.get_str(&["spec", "externalID"]).unwrap_or_default().to_owned();
    if external(object) != external(old) {
        errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
    }
}

/// Rules of the change of a node's status.
pub(super) fn status(object: &Object, old: &Object, errors: &mut Errors) {
    resources(object, errors);
    change(object, old, errors);
}

/// What keeps pods away. Kubernetes looks for it in the metadata.
fn taints(object: &Object, errors: &mut Errors) {
    let path = Path::root("metadata");
    let path = path.child("taints");
    let mut known = HashSet::new();
    for (index, taint) in object.get_list(&["spec", "taints"]).iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        invalid(errors, &path.child("key"), key, names::qualified(key));
        let messages = names::label_value(value);
        if !messages.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, messages.join(";")));
        }
        if effect.is_empty() {
            errors.push(FieldError::required(&path.child("effect"), ""));
        } else {
            taint_effect(effect, &path.child("effect"), errors);
        }
        if !known.insert((key, effect)) {
            let mut error = FieldError::duplicate(&path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

/// What a node has, and what of it pods may have.
fn resources(object: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let status = object.get(&["status"]).unwrap_or(&Value::Null);
    for name in ["capacity", "allocatable"] {
        let path = path.child(name);
        for (resource, quantity) in entries(status, name) {
            amount(resource, quantity, &path.child(resource), errors);
        }
    }
}

fn addresses(object: &Object, errors: &mut Errors) {
    let path = Path::root("status");
    let path = path.child("addresses");
    let mut known = HashSet::new();
    for (index, address) in object.get_list(&["status", "addresses"]).iter().enumerate() {
        if !known.insert((text(address, "type"), text(address, "address"))) {
            errors.push(FieldError::duplicate(&path.index(index), address.clone()));
        }
    }
}

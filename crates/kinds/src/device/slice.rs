//! Rules of what a driver says of the devices of a pool.

use std::collections::HashSet;

use model::field::{FieldError, Path};
use model::validate::{Errors, entries, flag, format, immutable, invalid, list, number, text};
use model::{Object, Quantity};
use serde_json::Value;

use super::{each, names, unique};
use crate::node_selector;

/// So many devices a slice has at most, and so many where they are more than a name and attributes.
const DEVICES: usize = 128;
const DEVICES_WITH_MORE: usize = 64;
const COUNTER_SETS: usize = 8;
const COUNTERS: usize = 32;
const COUNTER_SETS_OF_DEVICE: usize = 2;
const PROPERTIES: usize = 32;
const TAINTS: usize = 16;
const LONGEST_VALUE: usize = 64;
const NODES: &str =
    "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// The spec of a slice.
pub(crate) fn spec(spec: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    format::driver(errors, &path.child("driver"), text(spec, "driver"));
    pool(spec.get("pool").unwrap_or(&Value::Null), &path.child("pool"), errors);
    nodes(spec, &path, errors);
    let has = |name: &str| spec.get(name).is_some_and(|it| !it.is_null());
    if has("sharedCounters") && has("devices") {
        let message = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid(&path, "", message));
    }
    let devices = list(spec, "devices");
    let has_more =
        |device: &Value| ["taints", "consumesCounters"].iter().any(|name| !list(device, name).is_empty());
    let most = if devices.iter().any(has_more) { DEVICES_WITH_MORE } else { DEVICES };
    let by_device = flag(spec, "perDeviceNodeSelection");
    let name = |value: &Value| text(value, "name").to_owned();
    let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| device(one, by_device, path, errors);
    unique(devices, most, &path.child("devices"), errors, look, name);
    let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| {
        counters(one, "name", path, errors);
    };
    unique(list(spec, "sharedCounters"), COUNTER_SETS, &path.child("sharedCounters"), errors, look, name);
}

/// The change of a slice's spec.
pub(crate) fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let path = Path::root("spec");
    let pool_path = path.child("pool");
    let places: [(&[&str], Path<'_>); 3] = [
        (&["spec", "pool", "name"], pool_path.child("name")),
        (&["spec", "driver"], path.child("driver")),
        (&["spec", "nodeName"], path.child("nodeName")),
    ];
    for (place, path) in places {
        immutable(errors, object.get(place), old.get(place), &path);
    }
}

fn pool(pool: &Value, path: &Path<'_>, errors: &mut Errors) {
    names::pool(errors, &path.child("name"), text(pool, "name"));
    let of = |name: &str| number(pool, name).unwrap_or_default();
    let (count, generation) = (of("resourceSliceCount"), of("generation"));
    if count <= 0 {
        errors.push(FieldError::invalid(
            &path.child("resourceSliceCount"),
            count,
            "must be greater than zero",
        ));
    }
    if generation < 0 {
        let message = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&path.child("generation"), generation, message));
    }
}

/// From which nodes the devices can be used: said in one way.
fn nodes(spec: &Value, path: &Path<'_>, errors: &mut Errors) {
    let mut set = Vec::new();
    if let Some(name) = spec.get("nodeName").and_then(Value::as_str) {
        let path = path.child("nodeName");
        if name.is_empty() {
            let message = "must be either unset or set to a non-empty string";
            errors.push(FieldError::invalid(&path, name, message));
        } else {
            set.push("`nodeName`");
            invalid(errors, &path, name, model::names::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = spec.get("nodeSelector").filter(|it| !it.is_null()) {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        node_selector::rules(selector, &path, errors);
        let terms = list(selector, "nodeSelectorTerms");
        if terms.len() != 1 {
            let message = "must have exactly one node selector term";
            errors.push(FieldError::invalid(&path.child("nodeSelectorTerms"), terms.to_vec(), message));
        }
    }
    for (name, told) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        set.extend(is_true(spec, name, &path.child(name), errors).then_some(told));
    }
    match set[..] {
        [] => errors.push(FieldError::required(path, NODES)),
        [_] => {}
        _ => {
            let message = format!("{NODES}, but multiple fields are set");
            errors.push(FieldError::invalid(path, format!("{{{}}}", set.join(", ")), message));
        }
    }
}

/// A field that says yes or is left out.
fn is_true(value: &Value, name: &str, path: &Path<'_>, errors: &mut Errors) -> bool {
    match value.get(name).and_then(Value::as_bool) {
        Some(false) => {
            errors.push(FieldError::invalid(path, false, "must be either unset or set to true"));
            false
        }
        Some(true) => true,
        None => false,
    }
}

fn device(device: &Value, by_device: bool, path: &Path<'_>, errors: &mut Errors) {
    names::label(errors, &path.child("name"), text(device, "name"));
    let count = entries(device, "attributes").count() + entries(device, "capacity").count();
    if count > PROPERTIES {
        let message = format!("the total number of attributes and capacities must not exceed {PROPERTIES}");
        errors.push(FieldError::invalid(path, count, message));
    }
    let attributes = path.child("attributes");
    for (name, value) in entries(device, "attributes") {
        names::property(errors, &attributes, name);
        attribute(value, &attributes.key(name), errors);
    }
    let capacities = path.child("capacity");
    let is_shared = flag(device, "allowMultipleAllocations");
    for (name, value) in entries(device, "capacity") {
        names::property(errors, &capacities, name);
        capacity(value, is_shared, &capacities.key(name), errors);
    }
    each(list(device, "taints"), TAINTS, &path.child("taints"), errors, |one, path, errors| {
        names::taint(errors, path, one);
    });
    let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| counters(one, "counterSet", path, errors);
    let name = |value: &Value| text(value, "counterSet").to_owned();
    let consumed = list(device, "consumesCounters");
    unique(consumed, COUNTER_SETS_OF_DEVICE, &path.child("consumesCounters"), errors, look, name);
    nodes_of_device(device, by_device, path, errors);
    names::binding_conditions(errors, path, device);
}

fn nodes_of_device(device: &Value, by_device: bool, path: &Path<'_>, errors: &mut Errors) {
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when \
                       `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let part = |name: &str| device.get(name).filter(|it| !it.is_null());
    if !by_device {
        if ["nodeName", "nodeSelector", "allNodes"].iter().any(|name| part(name).is_some()) {
            let message = "`nodeName`, `nodeSelector` and `allNodes` can only be set if \
                           `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
            errors.push(FieldError::invalid(path, Value::Null, message));
        }
        return;
    }
    let mut set = Vec::new();
    if let Some(name) = part("nodeName").and_then(Value::as_str) {
        let path = path.child("nodeName");
        if name.is_empty() {
            errors.push(FieldError::invalid(&path, name, "must not be empty"));
        } else {
            set.push("`nodeName`");
            invalid(errors, &path, name, model::names::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = part("nodeSelector") {
        set.push("`nodeSelector`");
        node_selector::rules(selector, &path.child("nodeSelector"), errors);
    }
    set.extend(is_true(device, "allNodes", &path.child("allNodes"), errors).then_some("`allNodes`"));
    match set[..] {
        [] => errors.push(FieldError::required(path, ONE)),
        [_] => {}
        _ => errors.push(FieldError::invalid(path, format!("{{{}}}", set.join(", ")), ONE)),
    }
}

/// A property: one value of one kind.
fn attribute(attribute: &Value, path: &Path<'_>, errors: &mut Errors) {
    let part = |name: &str| attribute.get(name).filter(|it| !it.is_null());
    if let Some(value) = part("string").and_then(Value::as_str)
        && value.len() > LONGEST_VALUE
    {
        errors.push(FieldError::too_long(&path.child("string"), LONGEST_VALUE));
    }
    if let Some(version) = part("version").and_then(Value::as_str) {
        if !is_semantic(version) {
            let message = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid(&path.child("version"), version, message));
        }
        if version.len() > LONGEST_VALUE {
            errors.push(FieldError::too_long(&path.child("version"), LONGEST_VALUE));
        }
    }
    match ["bool", "int", "string", "version"].iter().filter(|name| part(name).is_some()).count() {
        0 => errors.push(FieldError::invalid(path, "", "exactly one value must be specified")),
        1 => {}
        _ => errors.push(FieldError::invalid(path, attribute.clone(), "exactly one value must be specified")),
    }
}

/// Whether a text is a version as semver.org has it.
fn is_semantic(version: &str) -> bool {
    let (rest, build) = match version.split_once('+') {
        Some((rest, build)) => (rest, Some(build)),
        None => (version, None),
    };
    let (numbers, pre) = match rest.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (rest, None),
    };
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    let is_word =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let is_pre = |part: &str| is_word(part) && (is_number(part) || !part.bytes().all(|b| b.is_ascii_digit()));
    let numbers: Vec<&str> = numbers.split('.').collect();
    numbers.len() == 3
        && numbers.into_iter().all(is_number)
        && pre.is_none_or(|pre| pre.split('.').all(is_pre))
        && build.is_none_or(|build| build.split('.').all(is_word))
}

/// How much of something a device has, and how much of it a claim may ask for.
fn capacity(capacity: &Value, is_shared: bool, path: &Path<'_>, errors: &mut Errors) {
    let Some(policy) = capacity.get("requestPolicy").filter(|it| !it.is_null()) else { return };
    let path = path.child("requestPolicy");
    if !is_shared {
        errors.push(FieldError::forbidden(&path, "allowMultipleAllocations must be true"));
        return;
    }
    let quantity = |value: Option<&Value>| value.and_then(Quantity::from_json);
    let Some(whole) = quantity(capacity.get("value")) else { return };
    let values = list(policy, "validValues");
    let range = policy.get("validRange").filter(|it| !it.is_null());
    let default = quantity(policy.get("default"));
    match (values, range, default) {
        ([], None, _) => {}
        ([_, ..], Some(_), _) => {
            let message = "exactly one policy can be specified, cannot specify \"validValues\" and \
                           \"validRange\" at the same time";
            errors.push(FieldError::forbidden(&path, message));
        }
        (_, range, None) => {
            let of = if range.is_some() { "validRange" } else { "validValues" };
            let message = format!("required when {of} is defined");
            errors.push(FieldError::required(&path.child("default"), message));
        }
        (values, None, Some(default)) => {
            valid_values(values, default, whole, &path.child("validValues"), errors);
        }
        ([], Some(range), Some(default)) => {
            valid_range(range, default, whole, &path.child("validRange"), errors);
        }
    }
}

fn valid_values(values: &[Value], default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut Errors) {
    const OPTIONS: usize = 10;
    let quantities: Vec<Quantity> = values.iter().filter_map(Quantity::from_json).collect();
    for (index, pair) in quantities.windows(2).enumerate() {
        if pair[0] > pair[1] {
            let message = "values must be sorted in ascending order";
            errors.push(FieldError::invalid(&path.index(index + 1), pair[1].to_string(), message));
        }
    }
    if values.len() > OPTIONS {
        errors.push(FieldError::too_many(path, values.len(), OPTIONS));
    } else {
        let mut seen = HashSet::new();
        for (index, one) in quantities.iter().enumerate() {
            let path = path.index(index);
            if *one > whole {
                let message = format!("option is larger than capacity value: {whole}");
                errors.push(FieldError::invalid(&path, one.to_string(), message));
            }
            if !seen.insert(one.value()) {
                errors.push(FieldError::duplicate(&path, one.value().to_string()));
            }
        }
    }
    if !quantities.contains(&default) {
        let message = "default value is not valid according to the requestPolicy";
        errors.push(FieldError::invalid(path, default.to_string(), message));
    }
}

fn valid_range(range: &Value, default: Quantity, whole: Quantity, path: &Path<'_>, errors: &mut Errors) {
    let quantity = |name: &str| range.get(name).and_then(Quantity::from_json);
    let Some(min) = quantity("min") else {
        let message = "required when validRange is defined";
        errors.push(FieldError::required(&path.child("min"), message));
        return;
    };
    let mut refuse = |field: &str, value: Quantity, message: String| {
        errors.push(FieldError::invalid(&path.child(field), value.to_string(), message));
    };
    if min > whole {
        refuse("min", min, format!("min is larger than capacity value: {whole}"));
    }
    if default < min {
        refuse("default", default, format!("default is less than min: {min}"));
    }
    let max = quantity("max");
    if let Some(max) = max {
        if min > max {
            refuse("max", min, format!("min is larger than max: {max}"));
        }
        if max > whole {
            refuse("max", max, format!("max is larger than capacity value: {whole}"));
        }
        if default > max {
            refuse("default", default, format!("default is more than max: {max}"));
        }
    }
    let Some(step) = quantity("step") else { return };
    if step.is_negative() || step.is_zero() {
        refuse("step", step, "must be greater than zero".to_owned());
        return;
    }
    let (start, by) = (i128::from(min.value()), i128::from(step.value()).max(1));
    if start + by > i128::from(whole.value()) {
        let message = format!("one step {} is larger than capacity value: {whole}", start + by);
        refuse("step", step, message);
    }
    for value in [Some(default), max].into_iter().flatten() {
        if (i128::from(value.value()) - start) % by != 0 {
            let message = format!("value is not a multiple of a given step ({step}) from ({min})");
            refuse("step", value, message);
        }
    }
}

/// Counters by their names, in a set that is named in a field.
fn counters(set: &Value, named: &str, path: &Path<'_>, errors: &mut Errors) {
    let name = text(set, named);
    if name.is_empty() {
        errors.push(FieldError::required(&path.child(named), ""));
    } else {
        names::label(errors, &path.child(named), name);
    }
    let path = path.child("counters");
    let count = entries(set, "counters").count();
    if count == 0 {
        errors.push(FieldError::required(&path, ""));
    } else if count > COUNTERS {
        errors.push(FieldError::too_many(&path, count, COUNTERS));
    } else {
        for (name, _) in entries(set, "counters") {
            names::label(errors, &path, name);
        }
    }
}

//! Rules of what somebody got, as the status of a claim has it.

use std::collections::HashSet;

use model::Object;
use model::field::{FieldError, Path};
use model::validate::{Errors, format, list, text};
use serde_json::Value;

use super::claim::{Requests, configuration, parameters};
use super::{ANY, each, names, unique};
use crate::node_selector;

/// A device that was given to a claim, or a part of one.
type Id<'a> = [&'a str; 4];

/// The change of a claim's status.
pub(crate) fn status(object: &Object, old: &Object, errors: &mut Errors) {
    const CONSUMERS: usize = 256;
    let path = Path::root("status");
    let empty = Value::Null;
    let status = object.get(&["status"]).unwrap_or(&empty);
    let part =
        |object: &Object, name: &str| object.get(&["status", name]).filter(|it| !it.is_null()).cloned();
    let allocation = part(object, "allocation");
    let consumers_path = path.child("reservedFor");
    let consumers = list(status, "reservedFor");
    unique(consumers, CONSUMERS, &consumers_path, errors, consumer, |one| text(one, "uid").to_owned());
    let results =
        allocation.as_ref().and_then(|it| it.get("devices")).map_or(&[][..], |it| list(it, "results"));
    let given: HashSet<Id<'_>> = results.iter().map(id).collect();
    let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| device(one, &given, path, errors);
    unique(list(status, "devices"), ANY, &path.child("devices"), errors, look, |one| id(one).join("/"));
    if !consumers.is_empty() {
        let before = old.get_list(&["status", "reservedFor"]);
        if allocation.is_none() {
            let message = "may not be specified when `allocated` is not set";
            errors.push(FieldError::forbidden(&consumers_path, message));
        } else if object.is_being_deleted() && consumers.iter().any(|one| !before.contains(one)) {
            let message =
                "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.push(FieldError::forbidden(&consumers_path, message));
        }
    }
    let path = path.child("allocation");
    match (part(old, "allocation"), &allocation) {
        (Some(before), Some(now)) if before != *now => {
            errors.push(FieldError::invalid(&path, now.clone(), "field is immutable"));
        }
        (None, Some(now)) => {
            let spec = object.get(&["spec"]).unwrap_or(&empty);
            allocated(now, &Requests::of(spec), &path, errors);
        }
        _ => {}
    }
}

fn consumer(consumer: &Value, path: &Path<'_>, errors: &mut Errors) {
    for name in ["resource", "name", "uid"] {
        if text(consumer, name).is_empty() {
            errors.push(FieldError::required(&path.child(name), ""));
        }
    }
}

fn id(value: &Value) -> Id<'_> {
    ["driver", "pool", "device", "shareID"].map(|name| text(value, name))
}

fn allocated(allocation: &Value, names: &Requests<'_>, path: &Path<'_>, errors: &mut Errors) {
    const RESULTS: usize = 32;
    const CONFIGURATIONS: usize = 64;
    const SOURCES: [&str; 2] = ["FromClaim", "FromClass"];
    let empty = Value::Null;
    let devices = allocation.get("devices").unwrap_or(&empty);
    let devices_path = path.child("devices");
    let results_path = devices_path.child("results");
    each(list(devices, "results"), RESULTS, &results_path, errors, |one, path, errors| {
        names.check(text(one, "request"), &path.child("request"), errors);
        identity(one, path, errors);
        names::binding_conditions(errors, path, one);
        let tolerations = path.child("tolerations");
        for (index, one) in list(one, "tolerations").iter().enumerate() {
            names::toleration(errors, &tolerations.index(index), one);
        }
        share(one, path, errors);
    });
    let path_of = devices_path.child("config");
    each(list(devices, "config"), CONFIGURATIONS, &path_of, errors, |one, path, errors| {
        let source = text(one, "source");
        if source.is_empty() {
            errors.push(FieldError::required(&path.child("source"), ""));
        } else if !SOURCES.contains(&source) {
            errors.push(FieldError::not_supported(&path.child("source"), source, &SOURCES));
        }
        names.check_all(one, path, errors);
        configuration(one, path, errors);
    });
    if let Some(selector) = allocation.get("nodeSelector").filter(|it| !it.is_null()) {
        node_selector::rules(selector, &path.child("nodeSelector"), errors);
    }
}

/// Which device it is.
fn identity(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    format::driver(errors, &path.child("driver"), text(value, "driver"));
    names::pool(errors, &path.child("pool"), text(value, "pool"));
    names::label(errors, &path.child("device"), text(value, "device"));
}

/// Which part of it.
fn share(value: &Value, path: &Path<'_>, errors: &mut Errors) {
    let Some(uid) = value.get("shareID").and_then(Value::as_str) else { return };
    let dashes = [8, 13, 18, 23];
    let is_uid = uid.len() == 36
        && uid.bytes().enumerate().all(|(at, byte)| match dashes.contains(&at) {
            true => byte == b'-',
            false => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        });
    if !is_uid {
        let message = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with \
                       lowercase hexadecimal characters";
        errors.push(FieldError::invalid(&path.child("shareID"), uid, message));
    }
}

/// How a device fares that was given to the claim.
fn device(device: &Value, given: &HashSet<Id<'_>>, path: &Path<'_>, errors: &mut Errors) {
    const CONDITIONS: usize = 8;
    identity(device, path, errors);
    share(device, path, errors);
    if !given.contains(&id(device)) {
        let [driver, pool, name, _] = id(device);
        let message = "must be an allocated device in the claim";
        errors.push(FieldError::invalid(path, format!("{driver}/{pool}/{name}"), message));
    }
    let conditions_path = path.child("conditions");
    let conditions = list(device, "conditions");
    if conditions.len() > CONDITIONS {
        errors.push(FieldError::too_many(&conditions_path, conditions.len(), CONDITIONS));
    }
    format::conditions(errors, conditions, &conditions_path);
    if let Some(data) = device.get("data").filter(|data| !data.is_null()) {
        parameters(Some(data), &path.child("data"), errors);
    }
    if let Some(network) = device.get("networkData").filter(|network| !network.is_null()) {
        self::network(network, &path.child("networkData"), errors);
    }
}

fn network(network: &Value, path: &Path<'_>, errors: &mut Errors) {
    const ADDRESSES: usize = 16;
    for (field, longest) in [("interfaceName", 256), ("hardwareAddress", 128)] {
        if text(network, field).len() > longest {
            errors.push(FieldError::too_long(&path.child(field), longest));
        }
    }
    let address = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let look = |one: &Value, path: &Path<'_>, errors: &mut Errors| {
        let text = address(one);
        let parsed = text.split_once('/').and_then(|(address, length)| {
            let (address, length) = (address.parse::<std::net::IpAddr>().ok()?, length.parse::<u8>().ok()?);
            (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
        });
        let wrong = match parsed {
            None => "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
            Some((address, length)) if format!("{address}/{length}") != text => {
                format!("must be in canonical form ({})", model::field::quote(&format!("{address}/{length}")))
            }
            Some(_) => return,
        };
        errors.push(FieldError::invalid(path, text, wrong));
    };
    unique(list(network, "ips"), ADDRESSES, &path.child("ips"), errors, look, address);
}

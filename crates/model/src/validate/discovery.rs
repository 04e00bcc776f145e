//! Rules of Endpoints and EndpointSlice.

use std::collections::HashSet;

use serde_json::Value;

use super::{Errors, immutable, invalid, list, number, one_of, pod, text};
use crate::field::{FieldError, Path};
use crate::names;
use crate::object::Object;

const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;

pub(super) fn endpoints(object: &Object, errors: &mut Errors) {
    let subsets = Path::root("subsets");
    for (index, subset) in list(object.value(), "subsets").iter().enumerate() {
        let path = subsets.index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for name in ["addresses", "notReadyAddresses"] {
            let addresses = path.child(name);
            for (at, address) in list(subset, name).iter().enumerate() {
                pod::address(errors, &addresses.index(at).child("ip"), text(address, "ip"));
            }
        }
        let ports = list(subset, "ports");
        let ports_path = path.child("ports");
        for (at, port) in ports.iter().enumerate() {
            let path = ports_path.index(at);
            let name = text(port, "name");
            if name.is_empty() && ports.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            } else if !name.is_empty() {
                invalid(errors, &path.child("name"), name, names::dns1123_label(name));
            }
            let inside = number(port, "port").unwrap_or_default();
            invalid(errors, &path.child("port"), inside, names::port_number(inside));
            one_of(errors, port, "protocol", &path, &PROTOCOLS);
        }
    }
}

pub(super) fn slice(object: &Object, errors: &mut Errors) {
    let kind = text(object.value(), "addressType");
    one_of(errors, object.value(), "addressType", &Path::EMPTY, &ADDRESS_TYPES);
    let path = Path::root("endpoints");
    let endpoints = list(object.value(), "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        errors.push(FieldError::too_many(&path, endpoints.len(), MAX_ENDPOINTS));
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        let addresses_path = path.child("addresses");
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            errors.push(FieldError::required(&addresses_path, "must contain at least 1 address"));
        } else if addresses.len() > MAX_ADDRESSES {
            errors.push(FieldError::too_many(&addresses_path, addresses.len(), MAX_ADDRESSES));
        }
        for (at, address) in addresses.iter().enumerate() {
            let address = address.as_str().unwrap_or_default();
            let path = addresses_path.index(at);
            match kind {
                "FQDN" => invalid(errors, &path, address, names::dns1123_subdomain(address)),
                "IPv4" if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                    errors.push(FieldError::invalid(&path, address, "must be an IPv4 address"));
                }
                "IPv6" if address.parse::<std::net::Ipv4Addr>().is_ok() => {
                    errors.push(FieldError::invalid(&path, address, "must be an IPv6 address"));
                }
                _ => pod::address(errors, &path, address),
            }
        }
    }
    let ports = Path::root("ports");
    let mut seen: HashSet<&str> = HashSet::new();
    for (index, port) in list(object.value(), "ports").iter().enumerate() {
        let path = ports.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            invalid(errors, &path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        one_of(errors, port, "protocol", &path, &PROTOCOLS);
    }
}

pub(super) fn slice_change(object: &Object, old: &Object, errors: &mut Errors) {
    let of = |object: &Object| object.get(&["addressType"]).cloned();
    let (new, old): (Option<Value>, Option<Value>) = (of(object), of(old));
    immutable(errors, new.as_ref(), old.as_ref(), &Path::root("addressType"));
}

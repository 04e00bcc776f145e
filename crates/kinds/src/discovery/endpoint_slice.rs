//! EndpointSlices: what controllers write about services.

use std::collections::HashSet;

use apiserver::Resource;
use apiserver::resource::{Installation, Permanent};
use apiserver::table::{AGE, Column, NAME, age, text};
use base::Timestamp;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use model::default::{Fields, each, missing};
use model::field::{FieldError, Path};
use model::object::StringMap;
use model::validate::{
    Errors, Functions, address as check_address, immutable, invalid, list, metadata, one_of, special_address,
    text as text_of,
};
use model::{Object, names};
use serde_json::{Value, json};

use crate::server::is_servers_own;
use crate::shown::shorten;

pub(crate) fn resource() -> Resource {
    Resource::of::<EndpointSlice>()
        .defaults(defaults)
        .rules(Functions::of(object).change(change))
        .columns(COLUMNS, cells)
        .hook("bootstrap-controller")
        .permanent(permanent)
}

const COLUMNS: &[Column] = &[
    NAME,
    text("AddressType", "What kind of addresses it holds."),
    text("Ports", "The ports of each address."),
    text("Endpoints", "The addresses."),
    AGE,
];
const ADDRESS_TYPES: [&str; 3] = ["FQDN", "IPv4", "IPv6"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_TOPOLOGY: usize = 16;
const MAX_HINTS: usize = 8;

/// Where the server itself is. It may be elsewhere than at the last start.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    vec![Permanent::Kept(json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"kubernetes.io/service-name": "kubernetes"},
        },
        "addressType": if installation.address.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{"addresses": [installation.address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": installation.port, "protocol": "TCP"}],
    }))]
}

fn defaults(fields: &mut Fields) {
    for port in each(fields, "ports") {
        missing(port, "name", "");
        missing(port, "protocol", "TCP");
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let kind = text_of(object.value(), "addressType");
    one_of(errors, object.value(), "addressType", &Path::EMPTY, &ADDRESS_TYPES);
    let is_the_servers = is_servers_own(object);
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
                "FQDN" => domain(address, &path, errors),
                "IPv4" if address.parse::<std::net::Ipv6Addr>().is_ok() => {
                    errors.push(FieldError::invalid(&path, address, "must be an IPv4 address"));
                }
                "IPv6" if address.parse::<std::net::Ipv4Addr>().is_ok() => {
                    errors.push(FieldError::invalid(&path, address, "must be an IPv6 address"));
                }
                _ => {
                    check_address(errors, &path, address);
                    if !is_the_servers {
                        special_address(errors, &path, address);
                    }
                }
            }
        }
        place(endpoint, &path, errors);
    }
    let ports = Path::root("ports");
    let mut seen: HashSet<&str> = HashSet::new();
    let all = list(object.value(), "ports").len();
    if all > MAX_PORTS {
        errors.push(FieldError::too_many(&ports, all, MAX_PORTS));
        return;
    }
    for (index, port) in list(object.value(), "ports").iter().enumerate() {
        let path = ports.index(index);
        let name = text_of(port, "name");
        if !name.is_empty() {
            invalid(errors, &path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        if let Some(number) = port.get("port").and_then(Value::as_i64) {
            invalid(errors, &path.child("port"), number, names::port_number(number));
        }
        one_of(errors, port, "protocol", &path, &PROTOCOLS);
        if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
            invalid(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
        }
    }
}

/// A name that leads to somebody from anywhere: it has at least three labels.
fn domain(name: &str, path: &Path<'_>, errors: &mut Errors) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let messages = names::dns1123_subdomain(bare);
    if !messages.is_empty() {
        errors.push(FieldError::invalid(path, bare, messages.join(",")));
    } else if bare.split('.').count() < 3 {
        let message = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(path, bare, message));
    } else {
        for messages in bare.split('.').map(names::dns1123_label).filter(|messages| !messages.is_empty()) {
            errors.push(FieldError::invalid(path, bare, messages.join(",")));
        }
    }
}

/// Where an endpoint is, and who should come to it.
fn place(endpoint: &Value, path: &Path<'_>, errors: &mut Errors) {
    let topology = endpoint.get("deprecatedTopology").and_then(Value::as_object);
    let of_topology = path.child("deprecatedTopology");
    if topology.is_some_and(|labels| labels.len() > MAX_TOPOLOGY) {
        let all = topology.map_or(0, serde_json::Map::len);
        errors.push(FieldError::too_many(&of_topology, all, MAX_TOPOLOGY));
    }
    metadata::labels(StringMap::new(topology), &of_topology, errors);
    if let Some(name) = endpoint.get("hostname").and_then(Value::as_str) {
        invalid(errors, &path.child("hostname"), name, names::dns1123_label(name));
    }
    if let Some(name) = endpoint.get("nodeName").and_then(Value::as_str) {
        invalid(errors, &path.child("nodeName"), name, names::dns1123_subdomain(name));
    }
    let Some(hints) = endpoint.get("hints") else { return };
    let path = path.child("hints");
    for kind in ["forZones", "forNodes"] {
        let (path, all) = (path.child(kind), list(hints, kind));
        if all.len() > MAX_HINTS {
            errors.push(FieldError::too_many(&path, all.len(), MAX_HINTS));
            continue;
        }
        let mut known = HashSet::new();
        for (index, hint) in all.iter().enumerate() {
            let path = path.index(index);
            let (path, name) = (path.child("name"), text_of(hint, "name"));
            if !known.insert(name) {
                errors.push(FieldError::duplicate(&path, name));
            }
            let messages = match kind {
                "forZones" => names::label_value(name),
                _ => names::dns1123_subdomain(name),
            };
            invalid(errors, &path, name, messages);
        }
    }
}

fn change(object: &Object, old: &Object, errors: &mut Errors) {
    let of = |object: &Object| object.get(&["addressType"]).cloned();
    let (new, old): (Option<Value>, Option<Value>) = (of(object), of(old));
    immutable(errors, new.as_ref(), old.as_ref(), &Path::root("addressType"));
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = object
        .get_list(&["ports"])
        .iter()
        .map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |number| number.to_string()))
        .collect();
    let addresses: Vec<String> = object
        .get_list(&["endpoints"])
        .iter()
        .flat_map(|endpoint| list(endpoint, "addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        object.name().into(),
        object.get_str(&["addressType"]).unwrap_or_default().into(),
        shorten(&ports, "<unset>").into(),
        shorten(&addresses, "<unset>").into(),
        age(object, now),
    ]
}

//! Columns of Endpoints and EndpointSlice.

use base::Timestamp;
use model::Object;
use serde_json::Value;

use super::{AGE, Column, NAME, NONE, age, text};

pub(super) const ENDPOINTS: &[Column] =
    &[NAME, text("Endpoints", "Addresses and ports behind the service."), AGE];
pub(super) const SLICE: &[Column] = &[
    NAME,
    text("AddressType", "What kind of addresses it holds."),
    text("Ports", "The ports of each address."),
    text("Endpoints", "The addresses."),
    AGE,
];

/// How many are shown before the rest is only counted.
const SHOWN: usize = 3;

pub(super) fn endpoints(object: &Object, now: Timestamp) -> Vec<Value> {
    let mut places = Vec::new();
    for subset in object.get_list(&["subsets"]) {
        let addresses = items(subset, "addresses").iter().filter_map(|address| address["ip"].as_str());
        let ports = items(subset, "ports");
        for address in addresses {
            if ports.is_empty() {
                places.push(address.to_owned());
            }
            for port in ports {
                let number = port["port"].as_i64().unwrap_or_default();
                // An IPv6 address stands in brackets before a port.
                places.push(match address.contains(':') {
                    true => format!("[{address}]:{number}"),
                    false => format!("{address}:{number}"),
                });
            }
        }
    }
    vec![object.name().into(), shorten(&places, NONE).into(), age(object, now)]
}

pub(super) fn slice(object: &Object, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = object
        .get_list(&["ports"])
        .iter()
        .map(|port| port["port"].as_i64().map_or_else(|| "*".to_owned(), |number| number.to_string()))
        .collect();
    let addresses: Vec<String> = object
        .get_list(&["endpoints"])
        .iter()
        .flat_map(|endpoint| items(endpoint, "addresses"))
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

fn shorten(all: &[String], otherwise: &str) -> String {
    match all.len() {
        0 => otherwise.to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

//! Endpoints: what controllers write about services, in the old form.

use apiserver::Resource;
use apiserver::resource::{Installation, Permanent};
use apiserver::table::{AGE, Column, NAME, NONE, age, text};
use base::Timestamp;
use k8s_openapi::api::core::v1::Endpoints;
use model::default::{Fields, each, unset};
use model::field::{FieldError, Path};
use model::validate::{
    Errors, Functions, address as check_address, invalid, list, number, one_of, special_address,
    text as text_of,
};
use model::{Object, names};
use serde_json::{Value, json};

use crate::server::is_servers_own;
use crate::shown::shorten;

pub(crate) fn resource() -> Resource {
    Resource::of::<Endpoints>()
        .short(&["ep"])
        .defaults(defaults)
        .rules(Functions::of(object))
        .made_by_update()
        .columns(COLUMNS, cells)
        .hook("bootstrap-controller")
        .permanent(permanent)
}

const COLUMNS: &[Column] = &[NAME, text("Endpoints", "Addresses and ports behind the service."), AGE];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// Where the server itself is. It may be elsewhere than at the last start.
fn permanent(installation: &Installation) -> Vec<Permanent> {
    vec![Permanent::Kept(json!({
        "metadata": {
            "name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [{
            "addresses": [{"ip": installation.address}],
            "ports": [{"name": "https", "port": installation.port, "protocol": "TCP"}],
        }],
    }))]
}

fn defaults(fields: &mut Fields) {
    for subset in each(fields, "subsets") {
        for port in each(subset, "ports") {
            unset(port, "protocol", "TCP");
        }
    }
}

fn object(object: &Object, errors: &mut Errors) {
    let subsets = Path::root("subsets");
    for (index, subset) in list(object.value(), "subsets").iter().enumerate() {
        let path = subsets.index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            errors.push(FieldError::required(&path, "must specify `addresses` or `notReadyAddresses`"));
        }
        for name in ["addresses", "notReadyAddresses"] {
            let addresses = path.child(name);
            for (at, address) in list(subset, name).iter().enumerate() {
                let path = addresses.index(at);
                let (of_host, of_node) = (text_of(address, "hostname"), text_of(address, "nodeName"));
                let address = text_of(address, "ip");
                check_address(errors, &path.child("ip"), address);
                if !of_host.is_empty() {
                    invalid(errors, &path.child("hostname"), of_host, names::dns1123_label(of_host));
                }
                if !of_node.is_empty() {
                    invalid(errors, &path.child("nodeName"), of_node, names::dns1123_subdomain(of_node));
                }
                if !is_servers_own(object) {
                    special_address(errors, &path.child("ip"), address);
                }
            }
        }
        let ports = list(subset, "ports");
        let ports_path = path.child("ports");
        for (at, port) in ports.iter().enumerate() {
            let path = ports_path.index(at);
            let name = text_of(port, "name");
            if name.is_empty() && ports.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            } else if !name.is_empty() {
                invalid(errors, &path.child("name"), name, names::dns1123_label(name));
            }
            let inside = number(port, "port").unwrap_or_default();
            invalid(errors, &path.child("port"), inside, names::port_number(inside));
            one_of(errors, port, "protocol", &path, &PROTOCOLS);
            if let Some(protocol) = port.get("appProtocol").and_then(Value::as_str) {
                invalid(errors, &path.child("appProtocol"), protocol, names::qualified(protocol));
            }
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let mut places = Vec::new();
    for subset in object.get_list(&["subsets"]) {
        let addresses = list(subset, "addresses").iter().filter_map(|address| address["ip"].as_str());
        let ports = list(subset, "ports");
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

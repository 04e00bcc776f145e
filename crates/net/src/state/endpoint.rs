//! An endpoint, in a file of its own.

use std::net::{IpAddr, Ipv4Addr};

use base::record::Record;
use serde::{Deserialize, Serialize};

use crate::attach;

/// `endpoints/<id>.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct EndpointFile {
    pub(super) endpoint: Endpoint,
}

impl Record for EndpointFile {
    const KNOWN: u32 = 1;
}

#[derive(Serialize, Deserialize)]
pub(super) struct Endpoint {
    id: String,
    owner: String,
    network: crate::NetworkId,
    name: String,
    aliases: Vec<String>,
    #[serde(default)]
    links: Vec<Link>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    name_servers: Vec<IpAddr>,
    address: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
    mac: [u8; 6],
    interface: String,
    host_interface: String,
    ports: Vec<Port>,
}

#[derive(Serialize, Deserialize)]
struct Link {
    alias: String,
    target: String,
}

#[derive(Serialize, Deserialize)]
struct Port {
    protocol: Protocol,
    host_address: Ipv4Addr,
    host_port: u16,
    container_port: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

base::same_fields!(
    Endpoint = attach::Endpoint {
        id,
        owner,
        network,
        name,
        aliases,
        links: each,
        name_servers,
        address,
        prefix,
        gateway,
        mac,
        interface,
        host_interface,
        ports: each,
    }
);

base::same_fields!(Link = attach::NameLink { alias, target });

base::same_fields!(Port = attach::PortBinding { protocol: inner, host_address, host_port, container_port });

base::same_variants!(Protocol = attach::Protocol { Tcp, Udp, Sctp });

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn again(document: &Value) -> Value {
        let file: EndpointFile = serde_json::from_value(document.clone()).expect("an endpoint");
        let endpoint = attach::Endpoint::from(file.endpoint);
        let document = base::record::encode(&EndpointFile { endpoint: endpoint.into() });
        serde_json::from_slice(&document.expect("it is text")).expect("JSON")
    }

    #[test]
    fn an_endpoint_is_taken_up_with_all_of_its_fields() {
        let port = |protocol: &str| json!({"protocol": protocol, "host_address": "127.0.0.1", "host_port": 8080, "container_port": 80});
        let mut document = json!({"version": 1, "endpoint": {
            "id": "b".repeat(64), "owner": "c".repeat(64), "network": "a".repeat(64), "name": "web",
            "aliases": ["www"], "links": [{"alias": "db", "target": "postgres"}],
            "name_servers": ["9.9.9.9", "fd00::53"], "address": "10.97.3.7", "prefix": 24,
            "gateway": "10.97.3.1", "mac": [2, 66, 10, 97, 3, 7], "interface": "eth0",
            "host_interface": "gantry_1", "ports": [port("tcp"), port("udp"), port("sctp")],
        }});
        assert_eq!(again(&document), document);
        // Those of the first programs had neither.
        let fields = document["endpoint"].as_object_mut().expect("an object");
        fields.retain(|name, _| !["links", "name_servers"].contains(&&**name));
        let mut known = again(&document);
        assert_eq!(
            known["endpoint"].as_object_mut().and_then(|fields| fields.remove("links")),
            Some(json!([]))
        );
        assert_eq!(known, document);
    }
}

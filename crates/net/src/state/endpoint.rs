//! An endpoint, in a file of its own.

use std::net::{IpAddr, Ipv4Addr};

use base::record::Record;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::attach;

/// `endpoints/<id>.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct EndpointFile {
    pub(super) endpoint: Endpoint,
}

impl Record for EndpointFile {
    const KNOWN: u32 = 2;

    fn parse(version: u32, document: &[u8]) -> Result<Self, serde_json::Error> {
        let file: Self = match version {
            1 => serde_json::from_slice::<first::EndpointFile>(document)?.into(),
            _ => serde_json::from_slice(document)?,
        };
        match file.endpoint.addresses.as_slice() {
            [_, ..] => Ok(file),
            [] => Err(serde::de::Error::custom("it has no address")),
        }
    }
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
    addresses: Vec<Address>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    link_local: Vec<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "is_zero")]
    priority: i64,
    mac: [u8; 6],
    interface: String,
    host_interface: String,
    ports: Vec<Port>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
struct Address {
    net: IpNet,
    gateway: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
struct Link {
    alias: String,
    target: String,
}

#[derive(Serialize, Deserialize)]
struct Port {
    protocol: Protocol,
    host_address: IpAddr,
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
        addresses: each,
        link_local,
        priority,
        mac,
        interface,
        host_interface,
        ports: each,
    }
);

base::same_fields!(Address = attach::EndpointAddress { net, gateway });

base::same_fields!(Link = attach::NameLink { alias, target });

base::same_fields!(Port = attach::PortBinding { protocol: inner, host_address, host_port, container_port });

base::same_variants!(Protocol = attach::Protocol { Tcp, Udp, Sctp });

/// Version 1: endpoints with one address, of IPv4.
mod first {
    use ipnet::Ipv4Net;

    use super::*;

    #[derive(Deserialize)]
    pub(super) struct EndpointFile {
        endpoint: Endpoint,
    }

    #[derive(Deserialize)]
    struct Endpoint {
        id: String,
        owner: String,
        network: crate::NetworkId,
        name: String,
        aliases: Vec<String>,
        #[serde(default)]
        links: Vec<Link>,
        #[serde(default)]
        name_servers: Vec<IpAddr>,
        address: Ipv4Addr,
        prefix: u8,
        gateway: Option<Ipv4Addr>,
        mac: [u8; 6],
        interface: String,
        host_interface: String,
        ports: Vec<Port>,
    }

    impl From<EndpointFile> for super::EndpointFile {
        fn from(EndpointFile { endpoint: first }: EndpointFile) -> Self {
            // Of no prefix that there is nobody could have written more than the address.
            let net = Ipv4Net::new(first.address, first.prefix).unwrap_or_else(|_| first.address.into());
            let address = Address { net: net.into(), gateway: first.gateway.map(Into::into) };
            let endpoint = super::Endpoint {
                id: first.id,
                owner: first.owner,
                network: first.network,
                name: first.name,
                aliases: first.aliases,
                links: first.links,
                name_servers: first.name_servers,
                addresses: vec![address],
                link_local: Vec::new(),
                priority: 0,
                mac: first.mac,
                interface: first.interface,
                host_interface: first.host_interface,
                ports: first.ports,
            };
            Self { endpoint }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn again(version: u32, document: &Value) -> Value {
        let file = EndpointFile::parse(version, document.to_string().as_bytes()).expect("an endpoint");
        let endpoint = attach::Endpoint::from(file.endpoint);
        let document = base::record::encode(&EndpointFile { endpoint: endpoint.into() });
        serde_json::from_slice(&document.expect("it is text")).expect("JSON")
    }

    fn port(protocol: &str) -> Value {
        json!({"protocol": protocol, "host_address": "127.0.0.1", "host_port": 8080, "container_port": 80})
    }

    fn today() -> Value {
        json!({"version": 2, "endpoint": {
            "id": "b".repeat(64), "owner": "c".repeat(64), "network": "a".repeat(64), "name": "web",
            "aliases": ["www"], "links": [{"alias": "db", "target": "postgres"}],
            "name_servers": ["9.9.9.9", "fd00::53"],
            "addresses": [{"net": "10.97.3.7/24", "gateway": "10.97.3.1"}],
            "mac": [2, 66, 10, 97, 3, 7], "interface": "eth0", "host_interface": "gantry_1",
            "ports": [port("tcp"), port("udp"), port("sctp")],
        }})
    }

    #[test]
    fn an_endpoint_is_taken_up_with_all_of_its_fields() {
        let mut document = today();
        assert_eq!(again(2, &document), document);
        let both =
            json!([{"net": "10.97.3.7/24", "gateway": null}, {"net": "fd00::7/64", "gateway": "fd00::1"}]);
        document["endpoint"]["addresses"] = both;
        document["endpoint"]["link_local"] = json!(["169.254.8.8"]);
        document["endpoint"]["priority"] = json!(-3);
        assert_eq!(again(2, &document), document);
        document["endpoint"]["addresses"] = json!([]);
        assert!(EndpointFile::parse(2, document.to_string().as_bytes()).is_err());
    }

    #[test]
    fn an_endpoint_of_version_1_is_taken_up_with_all_of_its_fields() {
        let mut first = json!({"version": 1, "endpoint": {
            "id": "b".repeat(64), "owner": "c".repeat(64), "network": "a".repeat(64), "name": "web",
            "aliases": ["www"], "links": [{"alias": "db", "target": "postgres"}],
            "name_servers": ["9.9.9.9", "fd00::53"], "address": "10.97.3.7", "prefix": 24,
            "gateway": "10.97.3.1", "mac": [2, 66, 10, 97, 3, 7], "interface": "eth0",
            "host_interface": "gantry_1", "ports": [port("tcp"), port("udp"), port("sctp")],
        }});
        assert_eq!(again(1, &first), today());
        // Those of the first programs had neither.
        let fields = first["endpoint"].as_object_mut().expect("an object");
        fields.retain(|name, _| !["links", "name_servers"].contains(&&**name));
        let known = again(1, &first);
        assert_eq!(known["endpoint"]["links"], json!([]));
        assert_eq!(known["endpoint"].get("name_servers"), None);
        assert_eq!(known["endpoint"]["addresses"], today()["endpoint"]["addresses"]);
    }
}

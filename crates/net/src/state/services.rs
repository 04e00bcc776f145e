//! The last table of services.

use std::net::Ipv4Addr;

use base::record::Record;
use serde::{Deserialize, Serialize};

use super::endpoint::Protocol;
use crate::services;

/// `services.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct ServicesFile {
    pub(super) services: Table,
}

impl Record for ServicesFile {
    const KNOWN: u32 = 1;
}

#[derive(Serialize, Deserialize)]
pub(super) struct Table {
    ports: Vec<Port>,
}

#[derive(Serialize, Deserialize)]
struct Port {
    name: String,
    addresses: Vec<Ipv4Addr>,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
    client_affinity: bool,
    external_local: bool,
    internal_local: bool,
    endpoints: Vec<Endpoint>,
}

#[derive(Serialize, Deserialize)]
struct Endpoint {
    address: Ipv4Addr,
    port: u16,
    local: bool,
}

base::same_fields!(Table = services::ServiceTable { ports: each });

base::same_fields!(
    Port = services::ServicePort {
        name,
        addresses,
        protocol: inner,
        port,
        node_port,
        client_affinity,
        external_local,
        internal_local,
        endpoints: each,
    }
);

base::same_fields!(Endpoint = services::ServiceEndpoint { address, port, local });

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn services_are_taken_up_with_all_of_their_fields() {
        let document = json!({"version": 1, "services": {"ports": [{
            "name": "default/web:http", "addresses": ["10.99.1.2"], "protocol": "sctp", "port": 80,
            "node_port": 32099, "client_affinity": true, "external_local": true, "internal_local": true,
            "endpoints": [{"address": "10.98.0.3", "port": 8080, "local": true}],
        }]}});
        let file: ServicesFile = serde_json::from_value(document.clone()).expect("services");
        let table = services::ServiceTable::from(file.services);
        let again = base::record::encode(&ServicesFile { services: table.into() }).expect("it is text");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&again).expect("JSON"), document);
    }
}

//! A network, as the list of networks has it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::network;

/// One entry of `networks.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Network {
    id: crate::NetworkId,
    name: String,
    kind: Kind,
    created: base::Timestamp,
    subnet: Ipv4Net,
    range: Option<Ipv4Net>,
    gateway: Ipv4Addr,
    reserved: BTreeMap<String, Ipv4Addr>,
    internal: bool,
    mtu: Option<u32>,
    isolate_endpoints: bool,
    no_masquerade: bool,
    bridge: String,
    host_address: Option<Ipv4Addr>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Default,
    User,
    Pods,
}

base::same_fields!(
    Network = network::NetworkView {
        id,
        name,
        kind: inner,
        created,
        subnet,
        range,
        gateway,
        reserved,
        internal,
        mtu,
        isolate_endpoints,
        no_masquerade,
        bridge,
        host_address,
        options,
        labels,
    }
);

base::same_variants!(Kind = network::NetworkKind { Default, User, Pods });

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[track_caller]
    fn check(document: Value) {
        let network: Network = serde_json::from_value(document.clone()).expect("a network");
        let again = Network::from(network::NetworkView::from(network));
        assert_eq!(serde_json::to_value(again).expect("JSON"), document);
    }

    #[test]
    fn a_network_is_taken_up_with_all_of_its_fields() {
        let of_kind = |kind: &str| {
            json!({
                "id": "a".repeat(64), "name": "front", "kind": kind, "created": "2026-11-28T09:59:59.5Z",
                "subnet": "10.97.3.0/24", "range": "10.97.3.128/25", "gateway": "10.97.3.1",
                "reserved": {"router": "10.97.3.2"}, "internal": true, "mtu": 1400,
                "isolate_endpoints": true, "no_masquerade": true, "bridge": "br-front",
                "host_address": "127.0.0.1", "options": {"o": "1"}, "labels": {"l": "2"},
            })
        };
        ["default", "user", "pods"].into_iter().for_each(|kind| check(of_kind(kind)));
    }
}

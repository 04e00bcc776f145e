//! A network, as the list of networks has it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::network;

/// One entry of `networks.json`.
#[derive(Serialize, Deserialize)]
pub(super) struct Network {
    id: crate::NetworkId,
    name: String,
    kind: Kind,
    created: base::Timestamp,
    pools: Vec<Pool>,
    internal: bool,
    mtu: Option<u32>,
    isolate_endpoints: bool,
    no_masquerade: bool,
    bridge: String,
    host_address: Option<IpAddr>,
    options: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
struct Pool {
    subnet: IpNet,
    range: Option<IpNet>,
    gateway: IpAddr,
    reserved: BTreeMap<String, IpAddr>,
    /// Not said in what was written before it was asked: then anybody may choose an address.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    configured: bool,
}

fn yes() -> bool {
    true
}

fn is_true(flag: &bool) -> bool {
    *flag
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
        pools: each,
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

base::same_fields!(Pool = network::Pool { subnet, range, gateway, reserved, configured });

base::same_variants!(Kind = network::NetworkKind { Default, User, Pods });

impl Network {
    /// Reads an entry, as it is written today or in a list of version 1: an entry that was not understood
    /// stays as it is in a list of a later version.
    pub(super) fn read(entry: &serde_json::Value) -> Result<Self, serde_json::Error> {
        let network = match entry.get("pools") {
            Some(_) => Self::deserialize(entry)?,
            None => first::Network::deserialize(entry)?.into(),
        };
        match network.pools.as_slice() {
            [_, ..] => Ok(network),
            [] => Err(serde::de::Error::custom("it has no subnet")),
        }
    }
}

/// Networks in lists of version 1: with one subnet, of IPv4.
mod first {
    use std::net::Ipv4Addr;

    use ipnet::Ipv4Net;

    use super::*;

    #[derive(Deserialize)]
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

    impl From<Network> for super::Network {
        fn from(first: Network) -> Self {
            let Network { subnet, range, gateway, reserved, .. } = first;
            let pool = Pool {
                subnet: subnet.into(),
                range: range.map(Into::into),
                gateway: gateway.into(),
                reserved: reserved.into_iter().map(|(name, address)| (name, address.into())).collect(),
                configured: true,
            };
            Self {
                id: first.id,
                name: first.name,
                kind: first.kind,
                created: first.created,
                pools: vec![pool],
                internal: first.internal,
                mtu: first.mtu,
                isolate_endpoints: first.isolate_endpoints,
                no_masquerade: first.no_masquerade,
                bridge: first.bridge,
                host_address: first.host_address.map(Into::into),
                options: first.options,
                labels: first.labels,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn again(document: &Value) -> Value {
        let network = Network::read(document).expect("a network");
        let again = Network::from(network::NetworkView::from(network));
        serde_json::to_value(again).expect("JSON")
    }

    #[test]
    fn a_network_is_taken_up_with_all_of_its_fields() {
        for kind in ["default", "user", "pods"] {
            let document = json!({
                "id": "a".repeat(64), "name": "front", "kind": kind, "created": "2026-11-28T09:59:59.5Z",
                "pools": [
                    {"subnet": "10.97.3.0/24", "range": "10.97.3.128/25", "gateway": "10.97.3.1",
                     "reserved": {"router": "10.97.3.2"}},
                    {"subnet": "fd00::/64", "range": null, "gateway": "fd00::1", "reserved": {},
                     "configured": false},
                ],
                "internal": true, "mtu": 1400, "isolate_endpoints": true, "no_masquerade": true,
                "bridge": "br-front", "host_address": "127.0.0.1", "options": {"o": "1"}, "labels": {"l": "2"},
            });
            assert_eq!(again(&document), document);
        }
    }

    #[test]
    fn a_network_of_a_list_of_version_1_is_taken_up_with_all_of_its_fields() {
        let first = json!({
            "id": "a".repeat(64), "name": "front", "kind": "user", "created": "2026-11-28T09:59:59.5Z",
            "subnet": "10.97.3.0/24", "range": "10.97.3.128/25", "gateway": "10.97.3.1",
            "reserved": {"router": "10.97.3.2"}, "internal": true, "mtu": 1400,
            "isolate_endpoints": true, "no_masquerade": true, "bridge": "br-front",
            "host_address": "127.0.0.1", "options": {"o": "1"}, "labels": {"l": "2"},
        });
        let today = json!({
            "id": "a".repeat(64), "name": "front", "kind": "user", "created": "2026-11-28T09:59:59.5Z",
            "pools": [{"subnet": "10.97.3.0/24", "range": "10.97.3.128/25", "gateway": "10.97.3.1",
                       "reserved": {"router": "10.97.3.2"}}],
            "internal": true, "mtu": 1400, "isolate_endpoints": true, "no_masquerade": true,
            "bridge": "br-front", "host_address": "127.0.0.1", "options": {"o": "1"}, "labels": {"l": "2"},
        });
        assert_eq!(again(&first), today);
    }

    #[test]
    fn a_network_without_a_subnet_is_none() {
        assert!(Network::read(&json!({"pools": []})).is_err());
    }
}

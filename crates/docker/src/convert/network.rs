//! Networks.

use std::net::IpAddr;

use engine::network::{AddressPool, Network, NetworkSpec};
use ipnet::IpNet;

use super::endpoint;
use crate::fault::Fault;
use crate::wire::network::{self as document, Ipam, IpamConfig};
use crate::wire::{self, Map};

/// Reads what a network should be.
pub(crate) fn spec(document: document::Create) -> Result<NetworkSpec, Fault> {
    if document.name.trim().is_empty() {
        return Err(Fault::invalid("invalid network name: name is empty"));
    }
    if matches!(document.name.as_str(), "bridge" | "host" | "none" | "default") {
        return Err(Fault::forbidden(format!(
            "operation is not permitted on predefined {} network",
            document.name
        )));
    }
    if document.ingress || document.scope == "swarm" {
        return Err(Fault::unsupported("swarm networks are not supported"));
    }
    if document.config_only || document.config_from.as_ref().is_some_and(|from| !from.network.is_empty()) {
        return Err(Fault::unsupported("networks that only hold a configuration are not supported"));
    }
    if !matches!(document.ipam.driver.as_str(), "" | "default") {
        return Err(Fault::invalid(format!("invalid ipam driver: {}", document.ipam.driver)));
    }
    refuse(&document)?;
    let pools = document
        .ipam
        .config
        .iter()
        .filter(|pool| !pool.subnet.is_empty())
        .map(pool)
        .collect::<Result<_, _>>()?;
    Ok(NetworkSpec {
        name: document.name,
        driver: if document.driver == "default" { String::new() } else { document.driver },
        internal: document.internal,
        attachable: document.attachable,
        ipv6: document.enable_ipv6.unwrap_or_default(),
        pools,
        options: document.options,
        labels: document.labels,
    })
}

/// Options of the bridge driver that are done, besides those that only name things.
const OPTIONS: [&str; 8] = [
    "com.docker.network.bridge.name",
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.host_binding_ipv4",
    "com.docker.network.bridge.default_bridge",
    "com.docker.network.driver.mtu",
    "com.docker.network.enable_ipv4",
    "com.docker.network.enable_ipv6",
];

/// What no network here does.
fn refuse(document: &document::Create) -> Result<(), Fault> {
    let asks = |key: &str| document.options.get(key).and_then(|text| base::truth::parse(text));
    if document.enable_ipv6 == Some(true)
        || asks("com.docker.network.enable_ipv6") == Some(true)
        || document.ipam.config.iter().any(|pool| matches!(pool.subnet.parse(), Ok(IpNet::V6(_))))
    {
        return Err(Fault::unsupported("networks with IPv6 are not supported: leave it out"));
    }
    if document.enable_ipv4 == Some(false) || asks("com.docker.network.enable_ipv4") == Some(false) {
        return Err(Fault::unsupported("networks without IPv4 are not supported"));
    }
    for (key, value) in &document.options {
        if key.starts_with("com.docker.network.") && !OPTIONS.contains(&key.as_str()) {
            return Err(Fault::unsupported(format!("the network option \"{key}\" is not supported")));
        }
        let is_flag = key.contains(".enable_") || key.ends_with(".default_bridge");
        if is_flag && base::truth::parse(value).is_none() {
            return Err(Fault::invalid(format!("driver-opt \"{key}\" is not a valid bool")));
        }
        if key == "com.docker.network.bridge.host_binding_ipv4"
            && value.parse::<std::net::Ipv4Addr>().is_err()
        {
            return Err(Fault::invalid(format!(
                "failed to parse {key} value: \"{value}\" is no IPv4 address"
            )));
        }
    }
    Ok(())
}

/// Writes a network; with its containers where `full`.
pub(crate) fn network(network: &Network, full: bool) -> document::Network {
    let containers = match full {
        true => {
            network.containers.iter().map(|(id, place)| (id.to_string(), endpoint::resource(place))).collect()
        }
        false => Map::new(),
    };
    document::Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: wire::time(network.created),
        scope: "local".to_owned(),
        driver: network.driver.clone(),
        enable_ipv4: true,
        enable_ipv6: network.spec.ipv6,
        ipam: Ipam {
            driver: "default".to_owned(),
            options: None,
            config: network.spec.pools.iter().map(pool_document).collect(),
        },
        internal: network.spec.internal,
        attachable: network.spec.attachable,
        ingress: false,
        config_from: document::ConfigFrom::default(),
        config_only: false,
        containers,
        options: options(network),
        labels: network.spec.labels.clone(),
    }
}

/// The options, and for the default bridge those by which clients recognise it.
fn options(network: &Network) -> Map<String> {
    let mut options = network.spec.options.clone();
    if network.builtin && network.driver == "bridge" {
        let usual = [
            ("com.docker.network.bridge.default_bridge", "true"),
            ("com.docker.network.bridge.enable_icc", "true"),
            ("com.docker.network.bridge.enable_ip_masquerade", "true"),
            ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        ];
        for (name, value) in usual {
            options.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        if let Some(interface) = &network.interface {
            options.insert("com.docker.network.bridge.name".to_owned(), interface.clone());
        }
    }
    options
}

fn pool(document: &IpamConfig) -> Result<AddressPool, Fault> {
    let subnet: IpNet = document.subnet.parse().map_err(|_| {
        Fault::invalid(format!(
            "invalid network config:\ninvalid subnet {}: invalid CIDR block notation",
            document.subnet
        ))
    })?;
    let network = subnet.trunc();
    if network != subnet {
        return Err(Fault::invalid(format!(
            "invalid network config:\ninvalid subnet {subnet}: it should be {network}"
        )));
    }
    let range = match document.ip_range.as_str() {
        "" => None,
        text => Some(text.parse::<IpNet>().ok().filter(|range| subnet.contains(range)).ok_or_else(|| {
            Fault::invalid(format!("invalid network config:\ninvalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"))
        })?),
    };
    let inside = |what: &str, text: &str| {
        text.parse::<IpAddr>().ok().filter(|address| subnet.contains(address)).ok_or_else(|| {
            Fault::invalid(format!("invalid network config:\ninvalid {what} {text}: parent subnet {subnet} doesn't contain this address"))
        })
    };
    let gateway = match document.gateway.as_str() {
        "" => None,
        text => Some(inside("gateway", text)?),
    };
    let reserved = document.auxiliary_addresses.iter();
    let reserved = reserved.map(|(name, text)| Ok((name.clone(), inside("auxiliary address", text)?)));
    Ok(AddressPool { subnet, range, gateway, reserved: reserved.collect::<Result<_, Fault>>()? })
}

fn pool_document(pool: &AddressPool) -> IpamConfig {
    IpamConfig {
        subnet: pool.subnet.to_string(),
        ip_range: pool.range.map(|range| range.to_string()).unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary_addresses: pool
            .reserved
            .iter()
            .map(|(name, address)| (name.clone(), address.to_string()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Result<&str, &str>) {
        let document: document::Create = serde_json::from_str(document).expect("a network");
        let read = spec(document).map(|spec| {
            let pools = spec.pools.iter().map(pool_document).collect::<Vec<_>>();
            serde_json::to_string(&pools).expect("JSON")
        });
        assert_eq!(read.map_err(|fault| fault.message), expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn subnets_are_read() {
        check(r#"{"Name":"a"}"#, Ok("[]"));
        check(
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"10.5.0.0/16","IPRange":"10.5.1.0/24","Gateway":"10.5.0.1"}]}}"#,
            Ok(r#"[{"Subnet":"10.5.0.0/16","IPRange":"10.5.1.0/24","Gateway":"10.5.0.1"}]"#),
        );
    }

    #[test]
    fn what_no_network_here_does_is_refused() {
        check(r#"{"Name":"a","EnableIPv6":true}"#, Err("networks with IPv6 are not supported: leave it out"));
        check(
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"fd00::/64"}]}}"#,
            Err("networks with IPv6 are not supported: leave it out"),
        );
        check(r#"{"Name":"a","EnableIPv4":false}"#, Err("networks without IPv4 are not supported"));
        check(
            r#"{"Name":"a","Options":{"com.docker.network.bridge.gateway_mode_ipv4":"isolated"}}"#,
            Err("the network option \"com.docker.network.bridge.gateway_mode_ipv4\" is not supported"),
        );
        check(
            r#"{"Name":"a","Options":{"com.docker.network.bridge.enable_icc":"no"}}"#,
            Err("driver-opt \"com.docker.network.bridge.enable_icc\" is not a valid bool"),
        );
        check(
            r#"{"Name":"a","Options":{"com.docker.network.bridge.host_binding_ipv4":"lo"}}"#,
            Err(
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: \"lo\" is no IPv4 address",
            ),
        );
        check(r#"{"Name":"a","EnableIPv6":false,"EnableIPv4":true,"Options":{"mine":"x"}}"#, Ok("[]"));
    }

    #[test]
    fn impossible_networks_are_refused() {
        check(r#"{"Name":"host"}"#, Err("operation is not permitted on predefined host network"));
        check(r#"{"Name":""}"#, Err("invalid network name: name is empty"));
        check(
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"10.5.0.1/16"}]}}"#,
            Err("invalid network config:\ninvalid subnet 10.5.0.1/16: it should be 10.5.0.0/16"),
        );
        check(
            r#"{"Name":"a","IPAM":{"Config":[{"Subnet":"10.5.0.0/16","Gateway":"10.6.0.1"}]}}"#,
            Err(
                "invalid network config:\ninvalid gateway 10.6.0.1: parent subnet 10.5.0.0/16 doesn't contain this address",
            ),
        );
    }
}

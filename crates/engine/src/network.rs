//! Networks that containers join.

mod check;
mod connect;
mod create;
mod list;
pub(crate) mod ports;
mod prune;
mod remove;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::Timestamp;
use ipnet::IpNet;

use crate::error::{Error, Kind, Result, is_full_disk};
use crate::id::{ContainerId, NetworkId};

/// The network that containers are in which name none.
pub(crate) const DEFAULT: &str = "bridge";

/// What a network should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge` where empty.
    pub driver: String,
    /// Nothing leads out of it.
    pub internal: bool,
    /// Kept, not acted on.
    pub attachable: bool,
    /// Has IPv6 addresses too.
    pub ipv6: bool,
    /// Its addresses; a free subnet is chosen where empty.
    pub pools: Vec<AddressPool>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressPool {
    /// The subnet.
    pub subnet: IpNet,
    /// The part that addresses are given from.
    pub range: Option<IpNet>,
    /// The host's own address in it.
    pub gateway: Option<IpAddr>,
    /// Addresses that are not given, by what they are for.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// A network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made.
    pub created: Timestamp,
    /// What was asked for, with the addresses it got.
    pub spec: NetworkSpec,
    /// The bridge's interface name, where it has one.
    pub interface: Option<String>,
    /// It came with the engine and cannot be removed.
    pub builtin: bool,
    /// Running containers in it.
    pub containers: BTreeMap<ContainerId, Endpoint>,
}

/// What a container asks for in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Further names in the network.
    pub aliases: Vec<String>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its MAC address.
    pub mac_address: Option<String>,
    /// Names under which it knows other containers (`container:alias`).
    pub links: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Further addresses, which hold on its link only (169.254.0.0/16).
    pub link_local: Vec<Ipv4Addr>,
    /// Of the networks that lead outside, the one with the highest priority has the default route and the
    /// published ports; among equals, the first by name.
    pub priority: i64,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Endpoint {
    /// What was asked for.
    pub spec: EndpointSpec,
    /// The network's id; empty while the container does not run and the network is not known.
    pub network_id: String,
    /// An id of its own, while the container runs.
    pub endpoint_id: String,
    /// The container's name, for listings of a network.
    pub container_name: String,
    /// Its IPv4 address and prefix length, while the container runs.
    pub ipv4: Option<ipnet::Ipv4Net>,
    /// The IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address and prefix length, while the container runs.
    pub ipv6: Option<ipnet::Ipv6Net>,
    /// The IPv6 gateway.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// Its MAC address while the container runs, else the one that was asked for.
    pub mac_address: String,
    /// All names by which others find it in the network.
    pub names: Vec<String>,
}

/// Which networks to list: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct NetworkFilter {
    /// Ids or prefixes of them, one of.
    pub ids: Vec<String>,
    /// Parts of names, one of.
    pub names: Vec<String>,
    /// Drivers, one of.
    pub drivers: Vec<String>,
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
    /// Whether it came with the engine.
    pub builtin: Option<bool>,
    /// Whether no container is in it.
    pub dangling: Option<bool>,
}

/// What the network says of an endpoint, in the engine's terms.
pub(crate) fn endpoint(network: &net::NetworkView, spec: EndpointSpec, made: &net::Endpoint) -> Endpoint {
    let mut names = Vec::new();
    if network.kind == net::NetworkKind::User {
        names.push(made.name.clone());
        names.extend(made.aliases.iter().filter(|alias| **alias != made.name).cloned());
    }
    let (mut ipv4, mut gateway, mut ipv6, mut gateway_ipv6) = (None, None, None, None);
    for address in &made.addresses {
        match (address.net, address.gateway) {
            (IpNet::V4(net), by) if ipv4.is_none() => {
                ipv4 = Some(net);
                gateway = by.and_then(|by| if let IpAddr::V4(by) = by { Some(by) } else { None });
            }
            (IpNet::V6(net), by) if ipv6.is_none() => {
                ipv6 = Some(net);
                gateway_ipv6 = by.and_then(|by| if let IpAddr::V6(by) = by { Some(by) } else { None });
            }
            _ => {}
        }
    }
    Endpoint {
        spec,
        network_id: network.id.to_string(),
        endpoint_id: made.id.clone(),
        container_name: made.name.clone(),
        ipv4,
        gateway,
        ipv6,
        gateway_ipv6,
        mac_address: made.mac_text(),
        names,
    }
}

/// Reads `02:42:ac:11:00:02`.
pub(crate) fn parse_mac(text: &str) -> Result<[u8; 6]> {
    let invalid = || Error::invalid(format!("invalid MAC address: {text}"));
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        *byte = parts.next().and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(invalid)?;
    }
    if parts.next().is_some() { Err(invalid()) } else { Ok(bytes) }
}

/// A failure of a network as such.
pub(crate) fn error(error: net::NetworkError) -> Error {
    let kind = match &error {
        net::NetworkError::NotFound { .. } => Kind::NotFound,
        net::NetworkError::Exists { .. } | net::NetworkError::InUse { .. } => Kind::Conflict,
        net::NetworkError::Ambiguous { .. } | net::NetworkError::Invalid { .. } => Kind::Invalid,
        net::NetworkError::Predefined { .. } | net::NetworkError::Overlap { .. } => Kind::Denied,
        net::NetworkError::PoolsExhausted => Kind::Unavailable,
        _ => Kind::Internal,
    };
    wrap(kind, error)
}

/// A failure of an endpoint.
pub(crate) fn attach_error(error: net::AttachError) -> Error {
    let kind = match &error {
        net::AttachError::NoNetwork { .. } => Kind::NotFound,
        net::AttachError::Exists { .. } => Kind::Conflict,
        net::AttachError::InterfaceTaken { .. } => Kind::Internal,
        net::AttachError::AddressTaken { .. } => Kind::Denied,
        net::AttachError::AddressOutside { .. } | net::AttachError::NotLinkLocal { .. } => Kind::Invalid,
        net::AttachError::AddressesExhausted { .. } | net::AttachError::AddressesUnknown { .. } => {
            Kind::Unavailable
        }
        _ => Kind::Internal,
    };
    wrap(kind, error)
}

/// An error whose message is the whole of `error`'s first sentence.
fn wrap(kind: Kind, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let message = error.to_string();
    let kind = if is_full_disk(&error) { Kind::NoSpace } else { kind };
    match error.source() {
        Some(source) => Error::new(kind, message).with_source(base::error::chain(source).to_string()),
        None => Error::new(kind, message),
    }
}

//! Addresses, names and ports.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::id::ContainerId;
use crate::{container, network};

/// What is asked for in a network.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::state) struct Endpoint {
    aliases: Vec<String>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    mac_address: Option<String>,
    links: Vec<String>,
    options: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    link_local: Vec<Ipv4Addr>,
    #[serde(skip_serializing_if = "is_zero")]
    priority: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A name for another container.
#[derive(Serialize, Deserialize)]
pub(in crate::state) struct ContainerLink {
    container: ContainerId,
    name: String,
    alias: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::state) struct Dns {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    options: Vec<String>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::state) struct HostEntry {
    names: Vec<String>,
    address: Option<IpAddr>,
}

#[derive(Serialize, Deserialize)]
pub(in crate::state) struct Port {
    number: u16,
    protocol: Protocol,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

#[derive(Serialize, Deserialize)]
pub(in crate::state) struct PortBinding {
    container: Port,
    host_address: Option<IpAddr>,
    host_port: Option<u16>,
    host_port_end: Option<u16>,
}

base::same_fields!(
    Endpoint =
        network::EndpointSpec { aliases, ipv4, ipv6, mac_address, links, options, link_local, priority }
);

base::same_fields!(ContainerLink = container::ContainerLink { container, name, alias });

base::same_fields!(Dns = container::Dns { servers, search, options });

base::same_fields!(HostEntry = container::HostEntry { names, address });

base::same_fields!(Port = container::Port { number, protocol: inner });

base::same_variants!(Protocol = container::Protocol { Tcp, Udp, Sctp });

base::same_fields!(
    PortBinding = container::PortBinding { container: inner, host_address, host_port, host_port_end }
);

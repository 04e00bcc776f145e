//! Names, addresses and ports of a container.

use std::net::IpAddr;

use crate::id::ContainerId;

/// Name resolution of a container or sandbox; empty lists take the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options (`ndots:5`).
    pub options: Vec<String>,
}

/// One name in `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The names, the first of them canonical.
    pub names: Vec<String>,
    /// The address; `None` is the host as the container sees it (`host-gateway`).
    pub address: Option<IpAddr>,
}

/// A name of one container's own for another in the default network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerLink {
    /// The other.
    pub container: ContainerId,
    /// What that was called when it was named.
    pub name: String,
    /// What it is called by the container that has the link.
    pub alias: String,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number, from 1.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A port of a container that is reachable from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBinding {
    /// The container's port.
    pub container: Port,
    /// The host's address; `None` is all.
    pub host_address: Option<IpAddr>,
    /// The host's port, or the first of a range to choose from; `None` is any free one.
    pub host_port: Option<u16>,
    /// The last of the range to choose from.
    pub host_port_end: Option<u16>,
}

//! Endpoints: a sandbox's place in a network, with its address and its published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use crate::NetworkId;

/// What is wanted of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointSpec {
    /// The container or sandbox that the endpoint belongs to; one endpoint per owner and network.
    pub owner: String,
    /// Name of the container, resolvable by others in user-defined networks; empty for none.
    pub name: String,
    /// More names for it in this network.
    pub aliases: Vec<String>,
    /// Names of its own for others in this network.
    pub links: Vec<NameLink>,
    /// Whom its questions for names are passed on to that nobody here knows; empty for the host's.
    pub name_servers: Vec<IpAddr>,
    /// The address to have, or the next free one.
    pub address: Option<Ipv4Addr>,
    /// The hardware address to have, or one made from the address.
    pub mac: Option<[u8; 6]>,
    /// Name of the link inside, or the next free `ethN`.
    pub interface: Option<String>,
    /// Ports to publish on the host.
    pub ports: Vec<PortSpec>,
    /// Whether the default route goes through this network (the first attached one usually).
    pub default_route: bool,
}

/// A sandbox's place in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Names the endpoint: 64 hex digits.
    pub id: String,
    /// The container or sandbox that it belongs to.
    pub owner: String,
    /// The network that it is in.
    pub network: NetworkId,
    /// Name of the container.
    pub name: String,
    /// More names for it in this network.
    pub aliases: Vec<String>,
    /// Names of its own for others in this network.
    pub links: Vec<NameLink>,
    /// Whom its questions for names are passed on to that nobody here knows; empty for the host's.
    pub name_servers: Vec<IpAddr>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Prefix length of the network's subnet.
    pub prefix: u8,
    /// The gateway of the network; `None` in internal networks.
    pub gateway: Option<Ipv4Addr>,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Name of the link inside the namespace.
    pub interface: String,
    /// Name of the other end on the host.
    pub host_interface: String,
    /// Published ports, with the host ports chosen.
    pub ports: Vec<PortBinding>,
}

/// A name that one owner alone has for another in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLink {
    /// What it calls the other.
    pub alias: String,
    /// A name that the other has in the network; it need not exist yet.
    pub target: String,
}

/// A port to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortSpec {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The host's address to listen at; unspecified for all.
    pub host_address: Ipv4Addr,
    /// First and last host port to choose from; `(0, 0)` for any free one.
    pub host_ports: (u16, u16),
    /// Port inside the container.
    pub container_port: u16,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortBinding {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The host's address that it listens at; unspecified for all.
    pub host_address: Ipv4Addr,
    /// Port on the host.
    pub host_port: u16,
    /// Port inside the container.
    pub container_port: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in the header of an IP packet.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl Endpoint {
    /// The hardware address as text, as `02:42:ac:11:00:02`.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

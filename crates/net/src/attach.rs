//! Endpoints: a sandbox's place in a network, with its address and its published ports.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

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
    /// Addresses to have, one in a subnet of the network at most; in the others it gets the next free one.
    pub addresses: Vec<IpAddr>,
    /// Further addresses, which hold on its link only (169.254.0.0/16).
    pub link_local: Vec<Ipv4Addr>,
    /// The hardware address to have, or one made from the address.
    pub mac: Option<[u8; 6]>,
    /// Name of the link inside, or the next free `ethN`.
    pub interface: Option<String>,
    /// Ports to publish on the host.
    pub ports: Vec<PortSpec>,
    /// Of the networks of an owner that lead outside, its default route and its published ports are in the
    /// one with the highest priority; among equals, the first by name.
    pub priority: i64,
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
    /// Its addresses, one in each subnet of the network and in the order of these.
    pub addresses: Vec<EndpointAddress>,
    /// Further addresses, which hold on its link only.
    pub link_local: Vec<Ipv4Addr>,
    /// Which of its owner's networks leads outside: the one with the highest priority.
    pub priority: i64,
    /// Hardware address.
    pub mac: [u8; 6],
    /// Name of the link inside the namespace.
    pub interface: String,
    /// Name of the other end on the host.
    pub host_interface: String,
    /// Published ports, with the host ports chosen.
    pub ports: Vec<PortBinding>,
}

/// An address of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// The address, with the prefix length of the network's subnet.
    pub net: IpNet,
    /// The gateway of the subnet; `None` in internal networks.
    pub gateway: Option<IpAddr>,
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
    pub host_address: IpAddr,
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
    pub host_address: IpAddr,
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
    /// Its addresses, without the lengths of prefixes.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + use<'_> {
        self.addresses.iter().map(|address| address.net.addr())
    }

    /// Its first address.
    pub fn ip(&self) -> IpAddr {
        self.ips().next().expect("an endpoint has an address in each subnet, and a network has one")
    }

    /// The hardware address as text, as `02:42:ac:11:00:02`.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

//! What is the matter with a container's networks, for fronts that have words of their own for it.

use std::fmt;
use std::net::IpAddr;

use super::Kind;

/// Something about networks that makes an operation impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkFact {
    /// What is asked for in a network cannot be had there.
    Endpoint {
        /// The network as it was called, where a container is made for several.
        network: Option<String>,
        /// All that is wrong with it.
        problems: Vec<EndpointProblem>,
    },
    /// A container that another is linked to does not run.
    LinkedNotRunning {
        /// Its name, without a slash.
        name: String,
        /// Which link it is.
        link: Link,
    },
    /// A container that another is linked to is not in the default network.
    LinkedElsewhere {
        /// Its name, without a slash.
        name: String,
    },
    /// It is no link of another container's, but a container.
    NoLink {
        /// What it was called.
        reference: String,
    },
    /// The network is the host's, and the container has one of its own.
    NotInHostNetwork,
    /// The container is in the host's network for good.
    InHostNetwork,
    /// The container has the network of another, or of the host.
    SharesNetwork,
    /// The container, or the network, is to have nothing to do with others.
    InNoNetwork,
    /// The container is not in the network.
    NotConnected {
        /// The container's id.
        container: String,
        /// The network's name.
        network: String,
        /// Whether it runs.
        running: bool,
    },
}

/// A link of one container to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The name of the container that has it.
    pub of: String,
    /// What it calls the other.
    pub alias: String,
}

/// What is wrong with what a container asks for in a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointProblem {
    /// Addresses are chosen in networks that users made.
    AddressInDefault,
    /// Further names are had in networks that users made.
    AliasInDefault,
    /// Addresses are chosen where the subnet was.
    NoConfiguredSubnet,
    /// The address is in none of the subnets.
    AddressOutside(IpAddr),
}

impl NetworkFact {
    /// What a caller can act on.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Endpoint { .. }
            | Self::NotInHostNetwork
            | Self::InHostNetwork
            | Self::SharesNetwork
            | Self::InNoNetwork => Kind::Invalid,
            Self::NotConnected { .. } | Self::NoLink { .. } => Kind::Conflict,
            Self::LinkedNotRunning { .. } | Self::LinkedElsewhere { .. } => Kind::Conflict,
        }
    }
}

impl fmt::Display for NetworkFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { network, problems } => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let network = network.as_deref().unwrap_or("the network");
                write!(f, "what is asked for in {network} cannot be had: {}", problems.join(", "))
            }
            Self::LinkedNotRunning { name, link: Link { of, alias } } => {
                write!(f, "container {name}, to which {of} is linked as {alias}, does not run")
            }
            Self::LinkedElsewhere { name } => {
                write!(f, "container {name}, to which there is a link, is not in the default network")
            }
            Self::NoLink { reference } => write!(f, "{reference} is no link between containers"),
            Self::NotInHostNetwork => f.write_str("only what was made in the host's network is in it"),
            Self::InHostNetwork => f.write_str("what was made in the host's network stays in it"),
            Self::SharesNetwork => f.write_str("what has the network of another is in no other network"),
            Self::InNoNetwork => f.write_str("what was made without a network is in none"),
            Self::NotConnected { container, network, .. } => {
                write!(f, "container {container} is not in the network {network}")
            }
        }
    }
}

impl fmt::Display for EndpointProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddressInDefault => f.write_str("addresses are chosen in networks of one's own only"),
            Self::AliasInDefault => f.write_str("further names are had in networks of one's own only"),
            Self::NoConfiguredSubnet => f.write_str("an address is chosen where the subnet was chosen"),
            Self::AddressOutside(address) => write!(f, "{address} is in none of its subnets"),
        }
    }
}

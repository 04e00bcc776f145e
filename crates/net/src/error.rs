//! Why something about networks failed.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::Protocol;

/// Why the kernel did not do as told.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct KernelError {
    /// What was being tried, on what.
    pub action: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl KernelError {
    /// `action` says what was being tried, on what.
    pub(crate) fn new(action: impl Into<String>, source: io::Error) -> Self {
        Self { action: action.into(), source }
    }
}

/// Why the network could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The state directory cannot be used.
    #[error("use network state `{}`", path.display())]
    State {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A subnet that was asked for is used by something else.
    #[error("subnet {subnet} is already routed through `{link}`: choose another, or remove that link")]
    SubnetTaken {
        /// The subnet.
        subnet: IpNet,
        /// The link that has it.
        link: String,
    },
    /// No subnet is left for a network that the instance cannot do without.
    #[error("find a free subnet for `{network}`: every address pool is used up")]
    NoSubnet {
        /// The network.
        network: String,
    },
    /// A name does not fit.
    #[error("`{name}` cannot name a link: at most 15 bytes, without `/` and spaces")]
    BadName {
        /// The name.
        name: String,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Why a network could not be created or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is none with this name or id.
    #[error("network {name} not found")]
    NotFound {
        /// The name or id.
        name: String,
    },
    /// The name is used.
    #[error("network with name {name} already exists")]
    Exists {
        /// The name.
        name: String,
    },
    /// The beginning of an id fits several networks.
    #[error("network {name} is ambiguous ({matches} matches found on name)")]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// How many fit.
        matches: usize,
    },
    /// It is a network that the instance cannot do without.
    #[error("{name} is a pre-defined network and cannot be removed")]
    Predefined {
        /// Its name.
        name: String,
    },
    /// Containers are still attached.
    #[error("error while removing network: network {name} id {id} has active endpoints ({endpoints})")]
    InUse {
        /// Its name.
        name: String,
        /// Its id.
        id: String,
        /// Names of the containers.
        endpoints: String,
    },
    /// The subnet overlaps with another network's or with a route of the host.
    #[error("Pool overlaps with other one on this address space")]
    Overlap {
        /// The subnet.
        subnet: IpNet,
        /// What it overlaps with.
        with: String,
    },
    /// No subnet is left.
    #[error("all predefined address pools have been fully subnetted")]
    PoolsExhausted,
    /// Something about the request makes no sense.
    #[error("{message}")]
    Invalid {
        /// What.
        message: String,
    },
    /// It could not be written down.
    #[error("keep network state `{}`", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Why a sandbox could not be attached to a network.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such network.
    #[error("network {id} not found")]
    NoNetwork {
        /// Its id.
        id: String,
    },
    /// The owner is already in this network.
    #[error("endpoint with name {name} already exists in network {network}")]
    Exists {
        /// Name of the container.
        name: String,
        /// Name of the network.
        network: String,
    },
    /// The address asked for is another's.
    #[error("Address already in use")]
    AddressTaken {
        /// The address.
        address: IpAddr,
    },
    /// The address asked for is not in the network.
    #[error("invalid address {address}: It does not belong to any of this network's subnets")]
    AddressOutside {
        /// The address.
        address: IpAddr,
    },
    /// The address does not hold on a link.
    #[error("invalid link local IP address: {address}")]
    NotLinkLocal {
        /// The address.
        address: IpAddr,
    },
    /// Another link inside has the name that was asked for.
    #[error("error renaming interface to \"{interface}\": file exists")]
    InterfaceTaken {
        /// The name.
        interface: String,
    },
    /// No address is left.
    #[error("no available IPv4 addresses on this network's address pools: {network}")]
    AddressesExhausted {
        /// Name of the network.
        network: String,
    },
    /// Somebody in the network has an address that nobody knows.
    #[error(
        "no address of network {network} is given out: the record of the endpoint with the link {link} cannot be \
         read, and its address is not known; end its container, or ask for an address"
    )]
    AddressesUnknown {
        /// Name of the network.
        network: String,
        /// The link on the host.
        link: String,
    },
    /// A port could not be published.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It could not be written down.
    #[error("keep endpoint state `{}`", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Why a port could not be published.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Another container has it.
    #[error("Bind for {address}:{port} failed: port is already allocated")]
    Allocated {
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// A process of the host has it.
    #[error("listen {protocol}4 {address}:{port}: bind: address already in use")]
    InUse {
        /// The protocol.
        protocol: Protocol,
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
    },
    /// The host cannot listen there.
    #[error("listen {protocol}4 {address}:{port}")]
    Bind {
        /// The protocol.
        protocol: Protocol,
        /// The host's address.
        address: IpAddr,
        /// The port.
        port: u16,
        /// Why.
        source: io::Error,
    },
    /// No port of the range is free.
    #[error("no port between {first} and {last} is free at {address}")]
    Exhausted {
        /// The host's address.
        address: IpAddr,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
}

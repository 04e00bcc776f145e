//! Names: what containers and pods can resolve.

use std::net::Ipv4Addr;

use crate::Protocol;

mod listener;
mod zone;

pub(crate) use listener::Listener;
pub(crate) use zone::SharedZone;

/// Everything that the cluster's DNS answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsTable {
    /// The services.
    pub services: Vec<DnsService>,
}

/// A service as DNS sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What its name stands for.
    pub address: DnsAddress,
    /// Its ports, for SRV records.
    pub ports: Vec<DnsPort>,
}

/// What a service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAddress {
    /// A cluster address.
    Cluster(Ipv4Addr),
    /// No address of its own: the endpoints' (ready ones, or all if the service publishes those not ready).
    Headless(Vec<DnsEndpoint>),
    /// Another name.
    External(String),
}

/// An endpoint of a headless service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsEndpoint {
    /// Its address.
    pub address: Ipv4Addr,
    /// The pod's hostname, if its subdomain is the service; otherwise it is named by its address.
    pub hostname: Option<String>,
}

/// A port of a service, for SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPort {
    /// Its name; without one there is no SRV record by port.
    pub name: Option<String>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number.
    pub port: u16,
}

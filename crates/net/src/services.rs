//! Services: virtual addresses and node ports that lead to endpoints.

use std::net::Ipv4Addr;

use crate::Protocol;

/// All services that this node balances: the whole desired state, not a change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// One entry per port of a service.
    pub ports: Vec<ServicePort>,
}

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// For messages: `namespace/name:port`.
    pub name: String,
    /// Cluster address and external addresses.
    pub addresses: Vec<Ipv4Addr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port at these addresses.
    pub port: u16,
    /// Port on every address of the node.
    pub node_port: Option<u16>,
    /// Whether a client keeps its endpoint (`sessionAffinity: ClientIP`).
    pub client_affinity: bool,
    /// Whether the node port leads to this node's endpoints only (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// Whether the cluster address leads to this node's endpoints only (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// Where it leads to; none means that connections are refused.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// Where a service leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEndpoint {
    /// Address of the pod or host.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// Whether it is on this node.
    pub local: bool,
}

//! Services: virtual addresses and node ports that lead to endpoints.
//!
//! Each is known by its name, and what is told of one touches no other: a change costs what it
//! changes, however many services there are.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::Protocol;

/// Names a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

/// Names a port of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ServiceKey {
    pub(crate) service: ServiceName,
    /// The port's name; the only port of a service may have none.
    pub(crate) port: String,
}

/// What services are balanced by this node, by name: their ports by name. None means that there is no such
/// service (any more).
pub type ServiceTable = BTreeMap<ServiceName, BTreeMap<String, ServicePort>>;

/// One port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Cluster addresses.
    pub addresses: Vec<IpAddr>,
    /// External addresses and those of load balancers. Where another service has one as its cluster address
    /// it leads there, and one that is among those of services leads nowhere.
    pub external_addresses: Vec<IpAddr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port at these addresses.
    pub port: u16,
    /// Port on every address of the node.
    pub node_port: Option<u16>,
    /// For how many seconds after its last connection a client keeps its endpoint (`sessionAffinity:
    /// ClientIP`), if it does.
    pub client_affinity: Option<u32>,
    /// Whether the node port leads to this node's endpoints only (`externalTrafficPolicy: Local`).
    pub external_local: bool,
    /// Whether the cluster address leads to this node's endpoints only (`internalTrafficPolicy: Local`).
    pub internal_local: bool,
    /// Where it leads to; none means that connections are refused. To an address that is nobody else's
    /// (the loopback, a link's own, of a group) it leads only if [`Config`](crate::Config) says so.
    pub endpoints: Vec<ServiceEndpoint>,
}

/// Where a service leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceEndpoint {
    /// Address of the pod or host.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Whether it is on this node.
    pub local: bool,
}

impl ServiceName {
    /// The name `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.service, self.port)
    }
}

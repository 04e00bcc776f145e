//! Sandboxes of pods: what the containers of a pod share.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use super::Resources;

/// Names a sandbox, in the runtime's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodSandboxId(pub String);

impl fmt::Display for PodSandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which pod something belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodMetadata {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid, by which everything of it is found again.
    pub uid: String,
}

/// What a pod's sandbox should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodSandboxConfig {
    /// Whose it is.
    pub metadata: PodMetadata,
    /// The host name of all its containers; the host's own where it is empty.
    pub hostname: String,
    /// How it is connected.
    pub network: PodNetwork,
    /// One process namespace for all containers.
    pub share_pid: bool,
    /// The host's process namespace for all containers.
    pub host_pid: bool,
    /// The host's IPC namespace.
    pub host_ipc: bool,
    /// Users of its own.
    pub own_users: bool,
    /// Name resolution.
    pub dns: Dns,
    /// Ports of its address that are reachable from the host.
    pub port_mappings: Vec<PortMapping>,
    /// The control group below which it has its own: one that [`super::Host::limit_group`] made.
    pub cgroup_parent: String,
    /// Limits of all its containers together.
    pub resources: Resources,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
}

/// How a sandbox is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodNetwork {
    /// An address of its own in the pods' network.
    #[default]
    Pod,
    /// The host's own network.
    Host,
}

/// Name resolution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options (`ndots:5`).
    pub options: Vec<String>,
}

/// A port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The number, from 1.
    pub number: u16,
    /// The protocol.
    pub protocol: net::Protocol,
}

/// A port of a pod that is reachable from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMapping {
    /// The pod's port.
    pub container: Port,
    /// The host's port.
    pub host_port: u16,
    /// The host's address; `None` is all.
    pub host_address: Option<IpAddr>,
}

/// A sandbox, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSandbox {
    /// Its id.
    pub id: PodSandboxId,
    /// The uid of its pod.
    pub pod: String,
    /// Whether containers can be started in it: its network is up.
    pub ready: bool,
}

/// What is known of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodSandboxStatus {
    /// Its id.
    pub id: PodSandboxId,
    /// Whether containers can be started in it.
    pub ready: bool,
    /// Its addresses while it is ready, the first one first; the host's are not told.
    pub addresses: Vec<IpAddr>,
}

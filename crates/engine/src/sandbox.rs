//! Sandboxes: what several containers share, and what holds them while the engine is away.

mod connect;
mod create;
mod follow;
mod group;
mod launch;
mod list;
pub(crate) mod memory;
mod remove;
mod shim_events;
mod stop;
mod tear_down;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::Timestamp;

pub use group::GroupUsage;

use crate::container::{Dns, HostEntry, PortBinding, PublishedPort, Resources};
use crate::id::{ContainerId, SandboxId};
use crate::network::{Endpoint, EndpointSpec};

/// What a sandbox should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SandboxSpec {
    /// A name for listings; need not be unique.
    pub name: String,
    /// The host name of all its containers.
    pub hostname: String,
    /// How it is connected.
    pub network: SandboxNetwork,
    /// One process namespace for all containers.
    pub share_pid: bool,
    /// The host's process namespace for all containers.
    pub host_pid: bool,
    /// The host's IPC namespace instead of a shared one of its own.
    pub host_ipc: bool,
    /// Users of its own: its containers are in a user namespace that they share, and that owns the
    /// namespaces of the sandbox. Files of images and volumes belong to whom they say inside.
    pub own_users: bool,
    /// Name resolution.
    pub dns: Dns,
    /// Lines for `/etc/hosts`.
    pub hosts: Vec<HostEntry>,
    /// Ports of its address that are reachable from the host.
    pub ports: Vec<PortBinding>,
    /// The cgroup below which its own is made, which holds those of its containers: absolute, or
    /// below the engine's own, which `None` is.
    pub cgroup_parent: Option<String>,
    /// Limits of all its containers together.
    pub resources: Resources,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Notes of its maker; kept and returned, unread.
    pub annotations: BTreeMap<String, String>,
}

/// How a sandbox is connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SandboxNetwork {
    /// Loopback only.
    #[default]
    None,
    /// The host's own.
    Host,
    /// In these networks (name or id).
    Networks(Vec<(String, EndpointSpec)>),
}

/// A sandbox.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// Its id.
    pub id: SandboxId,
    /// What was asked for.
    pub spec: Arc<SandboxSpec>,
    /// When it was made.
    pub created: Timestamp,
    /// Whether its shim and network are there.
    pub ready: bool,
    /// Its networks, while it is ready.
    pub networks: BTreeMap<String, Endpoint>,
    /// Its addresses, while it is ready; the host's are not told.
    pub addresses: Vec<IpAddr>,
    /// Its published ports, while it is ready.
    pub ports: Vec<PublishedPort>,
    /// Its containers, in any state.
    pub containers: Vec<ContainerId>,
    /// The shim's process id, while it is ready: `/proc/<pid>/ns/net` is its network.
    pub pid: Option<u32>,
}

/// What the engine keeps of a sandbox that was made as such.
#[derive(Clone, Debug)]
pub(crate) struct SandboxRecord {
    pub(crate) id: SandboxId,
    pub(crate) created: Timestamp,
    pub(crate) spec: SandboxSpec,
    /// The first id of its block of the host's user ids, if it has users of its own.
    pub(crate) first_id: Option<u32>,
}

/// Which sandboxes to list.
#[derive(Clone, Debug, Default)]
pub struct SandboxFilter {
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
    /// Whether it is ready.
    pub ready: Option<bool>,
}

//! Networks as they are wanted and as they are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

base::hex_id! {
    /// Names a network.
    pub struct NetworkId;
}

/// What is wanted of a network.
#[derive(Clone, Debug, Default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its subnets, or the next free one of those that networks get.
    pub pools: Vec<PoolSpec>,
    /// Whether it is cut off from everything outside it.
    pub internal: bool,
    /// Largest packet, or the kernel's choice.
    pub mtu: Option<u32>,
    /// Whether its containers may talk to each other.
    pub isolate_endpoints: bool,
    /// Whether addresses are hidden behind the host's on the way out.
    pub no_masquerade: bool,
    /// Link name of the bridge, or one made from the instance's name.
    pub bridge: Option<String>,
    /// The host's address that ports are published at unless told otherwise.
    pub host_address: Option<IpAddr>,
    /// Kept and given back.
    pub options: BTreeMap<String, String>,
    /// Kept and given back.
    pub labels: BTreeMap<String, String>,
}

/// What is wanted of a subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSpec {
    /// The subnet; with host bits they are the gateway's.
    pub subnet: IpNet,
    /// Addresses given out without being asked for come from here (`--ip-range`).
    pub range: Option<IpNet>,
    /// Address of the bridge, or the first of the subnet.
    pub gateway: Option<IpAddr>,
    /// Addresses never given out (`--aux-address`), by name.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The subnet.
    pub subnet: IpNet,
    /// Addresses given out without being asked for come from here.
    pub range: Option<IpNet>,
    /// Address of the bridge.
    pub gateway: IpAddr,
    /// Addresses never given out, by name.
    pub reserved: BTreeMap<String, IpAddr>,
    /// Whether somebody asked for it, instead of being given it.
    pub configured: bool,
}

/// A network as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkView {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// Which of the kinds it is.
    pub kind: NetworkKind,
    /// When it was made.
    pub created: base::Timestamp,
    /// Its subnets, of which there is at least one: every endpoint has an address in each.
    pub pools: Vec<Pool>,
    /// Whether it is cut off from everything outside it.
    pub internal: bool,
    /// Largest packet, or the kernel's choice.
    pub mtu: Option<u32>,
    /// Whether its containers may not talk to each other.
    pub isolate_endpoints: bool,
    /// Whether addresses stay visible on the way out.
    pub no_masquerade: bool,
    /// Link name of the bridge.
    pub bridge: String,
    /// The host's address that ports are published at unless told otherwise.
    pub host_address: Option<IpAddr>,
    /// As given.
    pub options: BTreeMap<String, String>,
    /// As given.
    pub labels: BTreeMap<String, String>,
}

/// The kinds of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// Docker's default network, named `bridge`: no names are resolved in it.
    Default,
    /// Made by a user: containers find each other by name.
    User,
    /// The pods' network of this node, named `pods`.
    Pods,
}

impl PoolSpec {
    /// The subnet `subnet`, and nothing else asked for.
    pub fn new(subnet: impl Into<IpNet>) -> Self {
        Self { subnet: subnet.into(), range: None, gateway: None, reserved: BTreeMap::new() }
    }
}

impl NetworkView {
    /// The subnet that an address is in.
    pub fn pool_of(&self, address: IpAddr) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.subnet.contains(&address))
    }

    /// The bridge's address of IPv4, at which its members ask for names.
    pub(crate) fn names_gateway(&self) -> Option<Ipv4Addr> {
        self.pools.iter().find_map(|pool| match pool.gateway {
            IpAddr::V4(gateway) => Some(gateway),
            IpAddr::V6(_) => None,
        })
    }

    /// The bridge's address in the first subnet.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.pools.first().expect("a network has a subnet").gateway
    }
}

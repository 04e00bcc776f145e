//! Networks as they are wanted and as they are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

base::hex_id! {
    /// Names a network.
    pub struct NetworkId;
}

/// What is wanted of a network.
#[derive(Clone, Debug, Default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its subnet, or the next free one of the pools.
    pub subnet: Option<Ipv4Net>,
    /// Addresses given out without being asked for come from here (`--ip-range`).
    pub range: Option<Ipv4Net>,
    /// Address of the bridge, or the first of the subnet.
    pub gateway: Option<Ipv4Addr>,
    /// Addresses never given out (`--aux-address`), by name.
    pub reserved: BTreeMap<String, Ipv4Addr>,
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
    pub host_address: Option<Ipv4Addr>,
    /// Kept and given back.
    pub options: BTreeMap<String, String>,
    /// Kept and given back.
    pub labels: BTreeMap<String, String>,
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
    /// Its subnet.
    pub subnet: Ipv4Net,
    /// Addresses given out without being asked for come from here.
    pub range: Option<Ipv4Net>,
    /// Address of the bridge.
    pub gateway: Ipv4Addr,
    /// Addresses never given out, by name.
    pub reserved: BTreeMap<String, Ipv4Addr>,
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
    pub host_address: Option<Ipv4Addr>,
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

//! Networks that containers join.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use base::Timestamp;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::container::{PruneFilter, Pruned};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::{ContainerId, NetworkId};

/// What a network should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// `bridge` where empty.
    pub driver: String,
    /// Nothing leads out of it.
    pub internal: bool,
    /// Kept, not acted on.
    pub attachable: bool,
    /// Has IPv6 addresses too.
    pub ipv6: bool,
    /// Its addresses; a free subnet is chosen where empty.
    pub pools: Vec<AddressPool>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A subnet of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The subnet.
    pub subnet: IpNet,
    /// The part that addresses are given from.
    pub range: Option<IpNet>,
    /// The host's own address in it.
    pub gateway: Option<IpAddr>,
    /// Addresses that are not given, by what they are for.
    pub reserved: BTreeMap<String, IpAddr>,
}

/// A network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// `bridge`, `host` or `null`.
    pub driver: String,
    /// When it was made.
    pub created: Timestamp,
    /// What was asked for, with the addresses it got.
    pub spec: NetworkSpec,
    /// The bridge's interface name, where it has one.
    pub interface: Option<String>,
    /// It came with the engine and cannot be removed.
    pub builtin: bool,
    /// Running containers in it.
    pub containers: BTreeMap<ContainerId, Endpoint>,
}

/// What a container asks for in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSpec {
    /// Further names in the network.
    pub aliases: Vec<String>,
    /// Its IPv4 address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub ipv6: Option<Ipv6Addr>,
    /// Its MAC address.
    pub mac_address: Option<String>,
    /// Names under which it knows other containers (`container:alias`).
    pub links: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// A container's place in a network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    /// What was asked for.
    pub spec: EndpointSpec,
    /// The network's id; empty while the container does not run and the network is not known.
    pub network_id: String,
    /// An id of its own, while the container runs.
    pub endpoint_id: String,
    /// The container's name, for listings of a network.
    pub container_name: String,
    /// Its IPv4 address and prefix length, while the container runs.
    pub ipv4: Option<ipnet::Ipv4Net>,
    /// The IPv4 gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address and prefix length, while the container runs.
    pub ipv6: Option<ipnet::Ipv6Net>,
    /// The IPv6 gateway.
    pub gateway_ipv6: Option<Ipv6Addr>,
    /// Its MAC address, while the container runs.
    pub mac_address: String,
    /// All names it has in the network.
    pub names: Vec<String>,
}

/// Which networks to list: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct NetworkFilter {
    /// Ids or prefixes of them, one of.
    pub ids: Vec<String>,
    /// Parts of names, one of.
    pub names: Vec<String>,
    /// Drivers, one of.
    pub drivers: Vec<String>,
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
    /// Whether it came with the engine.
    pub builtin: Option<bool>,
    /// Whether no container is in it.
    pub dangling: Option<bool>,
}

impl Engine {
    /// Makes a network.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<Arc<Network>> {
        let _ = spec;
        todo!()
    }

    /// The network that `reference` names: a name, an id, or a prefix of an id that no other has.
    /// `network … not found` otherwise.
    pub fn network_find(&self, reference: &str) -> Result<NetworkId> {
        let _ = reference;
        todo!()
    }

    /// A network with the containers in it.
    pub fn network_inspect(&self, id: &NetworkId) -> Result<Arc<Network>> {
        let _ = id;
        todo!()
    }

    /// The networks that `filter` lets through, by name.
    pub fn network_list(&self, filter: &NetworkFilter) -> Vec<Arc<Network>> {
        let _ = filter;
        todo!()
    }

    /// Removes a network that no running container is in.
    pub async fn network_remove(&self, id: &NetworkId) -> Result<()> {
        let _ = id;
        todo!()
    }

    /// Puts a container, running or not, into one more network.
    pub async fn network_connect(
        &self,
        id: &NetworkId,
        container: &ContainerId,
        endpoint: EndpointSpec,
    ) -> Result<()> {
        let _ = (id, container, endpoint);
        todo!()
    }

    /// Takes a container out of a network.
    pub async fn network_disconnect(
        &self,
        id: &NetworkId,
        container: &ContainerId,
        force: bool,
    ) -> Result<()> {
        let _ = (id, container, force);
        todo!()
    }

    /// Removes networks that no container uses.
    pub async fn network_prune(&self, filter: PruneFilter) -> Result<Pruned> {
        let _ = filter;
        todo!()
    }
}

//! The handle on an instance's networks.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{
    AttachError, Config, DnsTable, Endpoint, EndpointSpec, Finding, KernelError, NetworkError, OpenError,
    ResolvConf, ServiceTable,
};

base::hex_id! {
    /// Names a network.
    pub struct NetworkId;
}

/// An instance's networks; cheap to clone.
///
/// Needs a tokio runtime. Dropping it changes nothing in the kernel: see [`Network::close`] and
/// [`Network::teardown`].
#[derive(Clone)]
pub struct Network {
    #[expect(dead_code, reason = "filled in with the first operation")]
    inner: Arc<Config>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkKind {
    /// Docker's default network, named `bridge`: no names are resolved in it.
    Default,
    /// Made by a user: containers find each other by name.
    User,
    /// The pods' network of this node, named `pods`.
    Pods,
}

impl Network {
    /// Opens the instance's networks: brings up what the state directory tells of, forgets endpoints
    /// that no longer live, puts the rules in place and begins to answer names.
    pub async fn open(config: Config) -> Result<Self, OpenError> {
        let _ = config;
        todo!()
    }

    /// Stops answering names and watching the rules; traffic goes on.
    pub async fn close(&self) {
        todo!()
    }

    /// Takes everything of this instance out of the kernel and forgets it. The handle is of no use afterwards.
    pub async fn teardown(&self) -> Result<(), KernelError> {
        todo!()
    }

    /// A fresh network namespace with its loopback up.
    pub async fn netns_take(&self) -> Result<OwnedFd, KernelError> {
        todo!()
    }

    /// Creates a user-defined network.
    pub async fn network_create(&self, spec: NetworkSpec) -> Result<NetworkView, NetworkError> {
        let _ = spec;
        todo!()
    }

    /// Removes a user-defined network that has no endpoints.
    pub async fn network_remove(&self, id: &NetworkId) -> Result<(), NetworkError> {
        let _ = id;
        todo!()
    }

    /// All networks: the default one and the pods' first, then by name.
    pub fn network_list(&self) -> Vec<NetworkView> {
        todo!()
    }

    /// The network with this name, id or unambiguous beginning of an id.
    pub fn network_find(&self, name: &str) -> Result<NetworkView, NetworkError> {
        let _ = name;
        todo!()
    }

    /// Docker's default network.
    pub fn network_default(&self) -> NetworkView {
        todo!()
    }

    /// The pods' network; its subnet tells what addresses pods get.
    pub fn network_pods(&self) -> NetworkView {
        todo!()
    }

    /// Puts the namespace `netns` into a network: link, address, routes, names, published ports.
    ///
    /// Nothing is left behind when it fails.
    pub async fn endpoint_attach(
        &self,
        netns: BorrowedFd<'_>,
        network: &NetworkId,
        spec: EndpointSpec,
    ) -> Result<Endpoint, AttachError> {
        let _ = (netns, network, spec);
        todo!()
    }

    /// Takes `owner` out of a network; nothing happens if it is not in it. The namespace may be gone.
    pub async fn endpoint_detach(&self, network: &NetworkId, owner: &str) -> Result<(), AttachError> {
        let _ = (network, owner);
        todo!()
    }

    /// Takes `owner` out of all networks; nothing happens if it is in none.
    pub async fn endpoint_detach_all(&self, owner: &str) -> Result<(), AttachError> {
        let _ = owner;
        todo!()
    }

    /// All endpoints.
    pub fn endpoint_list(&self) -> Vec<Endpoint> {
        todo!()
    }

    /// Changes the names of an endpoint, as renaming the container does.
    pub async fn endpoint_rename(&self, owner: &str, name: &str) -> Result<(), AttachError> {
        let _ = (owner, name);
        todo!()
    }

    /// The resolver configuration for a container in `network`; explicit settings go over it.
    pub fn resolv_conf(&self, network: &NetworkId) -> ResolvConf {
        let _ = network;
        todo!()
    }

    /// The resolver configuration for a pod with `dnsPolicy: ClusterFirst` in `namespace`.
    pub fn resolv_conf_pod(&self, namespace: &str) -> ResolvConf {
        let _ = namespace;
        todo!()
    }

    /// The host's own resolver configuration (`dnsPolicy: Default`, `--network host`).
    pub fn resolv_conf_host(&self) -> ResolvConf {
        todo!()
    }

    /// Makes the services be exactly `table`; the kernel sees one transaction with the differences.
    pub async fn services_apply(&self, table: ServiceTable) -> Result<(), KernelError> {
        let _ = table;
        todo!()
    }

    /// Makes the cluster's DNS answer for exactly `table`.
    pub fn dns_apply(&self, table: DnsTable) {
        let _ = table;
        todo!()
    }

    /// What on this host stands in the way of the networks.
    pub async fn doctor(&self) -> Vec<Finding> {
        todo!()
    }
}

/// What the names of an instance's links begin with: at most six bytes, different for every instance.
pub(crate) fn tag(instance: &str) -> String {
    if instance.len() <= 6 {
        return instance.to_owned();
    }
    // FNV-1a: short, and the same in every version.
    let hash = instance
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let start: String = instance.chars().filter(char::is_ascii).take(2).collect();
    format!("{start}{:04x}", (hash >> 16) ^ (hash & 0xffff))
}

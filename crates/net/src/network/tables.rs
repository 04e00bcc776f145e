//! The tables as they are wanted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{NetworkId, NetworkKind, NetworkView, Strangers};
use crate::Endpoint;
use crate::dns::{Directory, SharedDirectory};
use crate::nft::Target;
use crate::plan::{Gate, UnknownBridge};
use crate::ports::Ports;

/// Networks, endpoints, and what follows from them.
///
/// Whatever changes networks or endpoints changes the directory with them, entry by entry, and publishes
/// it: whoever answers names never asks for these tables, nor waits for whoever has them.
#[derive(Default)]
pub(super) struct State {
    networks: BTreeMap<NetworkId, NetworkView>,
    endpoints: BTreeMap<(String, NetworkId), Endpoint>,
    directory: Directory,
    published: Arc<SharedDirectory>,
    /// Bridges of this instance of whose networks nothing can be read.
    pub(super) unknown: Vec<UnknownBridge>,
    /// Endpoints of networks that cannot be read. What they have stays theirs.
    pub(super) stranded: Vec<Endpoint>,
    /// Endpoints that cannot be read themselves, and whose links are there.
    pub(super) strays: Vec<Stray>,
    /// Endpoints that are gone but whose links may not be yet.
    pub(super) leaving: Vec<Endpoint>,
    /// The addresses that each network gave out last, in the order of its subnets.
    pub(super) last: BTreeMap<NetworkId, Vec<IpAddr>>,
    pub(super) ports: Ports,
    /// Where names are answered to whoever asks at the cluster's addresses.
    pub(super) names: Option<Target>,
    /// Where they are to containers, which ask their gateways: those of the cluster are not known there.
    pub(super) container_names: Option<Target>,
    /// The way for connections from outside, if this host can have it.
    pub(super) gate: Option<Gate>,
    /// Between these passes what passed before this instance, and nothing else.
    pub(super) strangers: Strangers,
}

/// An endpoint whose record cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Stray {
    /// Its link on the host.
    pub(super) host_interface: String,
    /// The addresses that it has, as far as that is known.
    pub(super) addresses: Vec<IpAddr>,
    /// The network on whose bridge its link is.
    pub(super) network: Option<NetworkId>,
}

impl State {
    /// Nothing yet; what there will be of names is published in `directory`.
    pub(super) fn new(directory: Arc<SharedDirectory>) -> Self {
        Self { published: directory, ..Self::default() }
    }

    /// The networks.
    pub(super) fn networks(&self) -> &BTreeMap<NetworkId, NetworkView> {
        &self.networks
    }

    /// The endpoints by owner and network.
    pub(super) fn endpoints(&self) -> &BTreeMap<(String, NetworkId), Endpoint> {
        &self.endpoints
    }

    /// The endpoints of one owner.
    pub(super) fn endpoints_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Endpoint> + use<'a> {
        self.endpoints.values().filter(move |endpoint| endpoint.owner == owner)
    }

    /// The endpoint by which an owner's default route leads and at which its ports are published: of those
    /// whose networks are not internal, the one with the highest priority, and among equals the first by the
    /// network's name. `but` does not count.
    pub(super) fn way_out_of(&self, owner: &str, but: Option<&Endpoint>) -> Option<Endpoint> {
        let others = self.endpoints_of(owner).filter(|one| but.is_none_or(|but| one.id != but.id));
        let named = others.filter_map(|one| Some((self.networks.get(&one.network)?, one)));
        let open = named.filter(|(network, _)| !network.internal);
        open.min_by_key(|(network, one)| (Reverse(one.priority), &network.name)).map(|(_, one)| one.clone())
    }

    /// Where 127.0.0.11 leads to in an owner's namespace: a gateway of one of the networks in which it finds
    /// others by name, the first by the network's name.
    pub(super) fn names_of(&self, owner: &str) -> Option<Ipv4Addr> {
        let networks = self.endpoints_of(owner).filter_map(|one| self.networks.get(&one.network));
        let named = networks.filter(|network| network.kind == NetworkKind::User);
        named.min_by_key(|network| &network.name).and_then(NetworkView::names_gateway)
    }

    /// Takes up a network.
    pub(super) fn network_insert(&mut self, network: NetworkView) {
        self.directory.network_insert(&network);
        self.networks.insert(network.id.clone(), network);
        self.publish();
    }

    /// Forgets a network that has no endpoints.
    pub(super) fn network_remove(&mut self, id: &NetworkId) {
        self.networks.remove(id);
        self.directory.network_remove(id);
        self.publish();
        self.last.remove(id);
    }

    /// Takes up an endpoint of a network that is there.
    pub(super) fn endpoint_insert(&mut self, endpoint: Endpoint) {
        let key = (endpoint.owner.clone(), endpoint.network.clone());
        if let Some(before) = self.endpoints.insert(key, endpoint.clone()) {
            self.directory.endpoint_remove(&before);
        }
        self.directory.endpoint_insert(endpoint);
        self.publish();
    }

    /// Forgets an endpoint.
    pub(super) fn endpoint_remove(&mut self, endpoint: &Endpoint) {
        self.stranded.retain(|stranded| stranded.id != endpoint.id);
        let gone = self.endpoints.remove(&(endpoint.owner.clone(), endpoint.network.clone()));
        if let Some(gone) = gone {
            self.directory.endpoint_remove(&gone);
            self.publish();
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(Arc::clone(&self.published));
        self.publish();
    }

    fn publish(&self) {
        self.published.store(Arc::new(self.directory.clone()));
    }
}

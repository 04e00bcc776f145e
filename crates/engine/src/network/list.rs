//! Finding and listing networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AddressPool, Endpoint, Network, NetworkFilter, NetworkSpec};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filter;
use crate::id::{ContainerId, NetworkId};

/// The two networks that are none: the host's own, and nothing at all. Name and driver.
const WITHOUT_BRIDGE: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

/// Whether `name` is that of a network that comes with every engine.
pub(super) fn is_builtin_name(name: &str) -> bool {
    name == "bridge" || name == "default" || WITHOUT_BRIDGE.iter().any(|(builtin, _)| *builtin == name)
}

impl Engine {
    /// The network that `reference` names: a name, an id, or a prefix of an id that no other has.
    /// `network … not found` otherwise.
    pub fn network_find(&self, reference: &str) -> Result<NetworkId> {
        let all = self.networks();
        let exact = all.iter().find(|network| network.name == reference || network.id.as_str() == reference);
        if let Some(network) = exact {
            return Ok(network.id.clone());
        }
        let not_found = || Error::not_found(format!("network {reference} not found"));
        if reference.is_empty() {
            return Err(not_found());
        }
        let mut matches = all.iter().filter(|network| network.id.as_str().starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some(network), None) => Ok(network.id.clone()),
            (Some(_), Some(_)) => {
                Err(Error::invalid(format!("network {reference} is ambiguous (2 matches found on name)")))
            }
            (None, _) => Err(not_found()),
        }
    }

    /// A network with the containers in it.
    pub fn network_inspect(&self, id: &NetworkId) -> Result<Arc<Network>> {
        let found = self.networks().into_iter().find(|network| network.id == *id);
        found.map(Arc::new).ok_or_else(|| Error::not_found(format!("network {id} not found")))
    }

    /// The networks that `filter` lets through, by name.
    pub fn network_list(&self, filter: &NetworkFilter) -> Vec<Arc<Network>> {
        let mut networks: Vec<Arc<Network>> = self
            .networks()
            .into_iter()
            .filter(|network| {
                filter::id_matches(&filter.ids, network.id.as_str())
                    && filter::name_matches(&filter.names, &network.name)
                    && (filter.drivers.is_empty() || filter.drivers.contains(&network.driver))
                    && filter::labels_match(&filter.labels, &network.spec.labels)
                    && filter.builtin.is_none_or(|builtin| network.builtin == builtin)
                    && filter.dangling.is_none_or(|dangling| {
                        !network.builtin && self.network_users(network).is_empty() == dangling
                    })
            })
            .map(Arc::new)
            .collect();
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        networks
    }

    /// The containers that are in a network, or will be when they start.
    pub(crate) fn network_users(&self, network: &Network) -> Vec<ContainerId> {
        let names =
            |name: &str| name == network.name || (name.len() >= 12 && network.id.as_str().starts_with(name));
        let cells = self.inner.registry.all();
        cells
            .iter()
            .filter(|cell| cell.record().networks.iter().any(|(name, _)| names(name)))
            .map(|cell| cell.id.clone())
            .collect()
    }

    fn networks(&self) -> Vec<Network> {
        let mut containers = self.network_containers();
        let mut networks: Vec<Network> = self
            .inner
            .network
            .network_list()
            .into_iter()
            .filter_map(|view| self.network_view(&view, containers.remove(&view.name).unwrap_or_default()))
            .collect();
        for (name, driver) in WITHOUT_BRIDGE {
            networks.push(self.without_bridge(name, driver));
        }
        networks
    }

    /// The endpoints of running containers, by network name.
    fn network_containers(&self) -> BTreeMap<String, BTreeMap<ContainerId, Endpoint>> {
        let mut found: BTreeMap<String, BTreeMap<ContainerId, Endpoint>> = BTreeMap::new();
        for cell in self.inner.registry.all() {
            if !cell.sandbox.is_of_one() {
                continue;
            }
            for (name, endpoint) in cell.sandbox.live.read().endpoints.clone() {
                found.entry(name).or_default().insert(cell.id.clone(), endpoint);
            }
        }
        // A sandbox of many has one address: it is listed by its own id.
        for sandbox in self.inner.registry.sandboxes() {
            let id = ContainerId::parse(sandbox.id.as_str()).ok();
            for (name, endpoint) in sandbox.live.read().endpoints.clone() {
                if let Some(id) = &id {
                    found.entry(name).or_default().insert(id.clone(), endpoint);
                }
            }
        }
        found
    }

    fn network_view(
        &self,
        view: &net::NetworkView,
        containers: BTreeMap<ContainerId, Endpoint>,
    ) -> Option<Network> {
        let pool = |pool: &net::Pool| AddressPool {
            subnet: pool.subnet,
            range: pool.range,
            gateway: Some(pool.gateway),
            reserved: pool.reserved.clone(),
        };
        Some(Network {
            id: NetworkId::parse(view.id.as_str()).ok()?,
            name: view.name.clone(),
            driver: "bridge".to_owned(),
            created: view.created,
            spec: NetworkSpec {
                name: view.name.clone(),
                driver: "bridge".to_owned(),
                internal: view.internal,
                attachable: false,
                ipv6: false,
                pools: view.pools.iter().map(pool).collect(),
                options: view.options.clone(),
                labels: view.labels.clone(),
            },
            interface: Some(view.bridge.clone()),
            builtin: view.kind != net::NetworkKind::User,
            containers,
        })
    }

    pub(crate) fn without_bridge(&self, name: &str, driver: &str) -> Network {
        // Made of the engine's id and the name: the same whenever somebody asks.
        let digest = <sha2::Sha256 as sha2::Digest>::digest(format!("{}/{name}", self.inner.id));
        Network {
            id: NetworkId::parse(&hex::encode(digest)).expect("a SHA-256 digest has 64 hex digits"),
            name: name.to_owned(),
            driver: driver.to_owned(),
            created: self.inner.started,
            spec: NetworkSpec { name: name.to_owned(), driver: driver.to_owned(), ..NetworkSpec::default() },
            interface: None,
            builtin: true,
            containers: BTreeMap::new(),
        }
    }
}

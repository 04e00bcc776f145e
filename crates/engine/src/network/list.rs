//! Finding and listing networks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{AddressPool, DEFAULT, Endpoint, Network, NetworkFilter, NetworkSpec};
use crate::container::NetworkMode;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filter;
use crate::id::{ContainerId, NetworkId};
use crate::registry::ContainerCell;

/// The two networks that are none: the host's own, and nothing at all. Name and driver.
const WITHOUT_BRIDGE: [(&str, &str); 2] = [(HOST, "host"), (NONE, "null")];
const HOST: &str = "host";
const NONE: &str = "none";

/// Whether `name` is that of a network that comes with every engine.
pub(super) fn is_builtin_name(name: &str) -> bool {
    name == DEFAULT || name == "default" || WITHOUT_BRIDGE.iter().any(|(builtin, _)| *builtin == name)
}

impl Engine {
    /// The network that `reference` names: a name, an id, or a prefix of an id that no other has.
    /// `network … not found` otherwise.
    pub fn network_find(&self, reference: &str) -> Result<NetworkId> {
        let all = self.networks();
        let exact = all.iter().find(|network| network.id.as_str() == reference);
        if let Some(network) = exact.or_else(|| all.iter().find(|network| network.name == reference)) {
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
                let count = 2 + matches.count();
                let found = format!("{count} matches found based on ID prefix");
                Err(Error::invalid(format!("network {reference} is ambiguous ({found})")))
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
            // What only sandboxes of many are in has no containers of anybody's, nor can be joined.
            .filter(|view| view.kind != net::NetworkKind::Pods)
            .filter_map(|view| {
                self.network_view(&view, containers.remove(view.id.as_str()).unwrap_or_default())
            })
            .collect();
        for (name, driver) in WITHOUT_BRIDGE {
            let network = self.without_bridge(name, driver);
            let inside = containers.remove(network.id.as_str()).unwrap_or_default();
            networks.push(Network { containers: inside, ..network });
        }
        networks
    }

    /// What a network is called, if there is one that is named so in any way; else as it was named.
    pub(crate) fn network_name(&self, reference: &str) -> String {
        let found = self.inner.network.network_find(reference);
        found.map_or_else(|_| reference.to_owned(), |view| view.name)
    }

    /// The place of a container that has the host's network, or none, in the network that says so.
    pub(crate) fn place_without_bridge(&self, cell: &ContainerCell) -> Option<(String, Endpoint)> {
        let record = cell.record();
        let name = match record.spec.namespaces.network {
            NetworkMode::Host => HOST,
            NetworkMode::None => NONE,
            _ => return None,
        };
        if !cell.sandbox.is_of_one() {
            return None;
        }
        let network_id = self.id_without_bridge(name).to_string();
        let mut endpoint = Endpoint {
            spec: record.spec.networks.get(name).cloned().unwrap_or_default(),
            container_name: record.name.clone(),
            ..Endpoint::default()
        };
        if cell.status().is_active() {
            // It has no life but the container's: another one each time that this is started.
            let started = record.life.started_at.map(|at| at.to_string()).unwrap_or_default();
            endpoint.endpoint_id = digest(&format!("{}/{name}/{started}", record.id));
        }
        if record.life.started_at.is_some() {
            endpoint.network_id = network_id;
        }
        Some((name.to_owned(), endpoint))
    }

    /// The endpoints of running containers, by the network's id.
    fn network_containers(&self) -> BTreeMap<String, BTreeMap<ContainerId, Endpoint>> {
        let mut found: BTreeMap<String, BTreeMap<ContainerId, Endpoint>> = BTreeMap::new();
        for cell in self.inner.registry.all() {
            if !cell.sandbox.is_of_one() {
                continue;
            }
            let without = self.place_without_bridge(&cell).filter(|(_, at)| !at.endpoint_id.is_empty());
            let places = cell.sandbox.live.read().endpoints.clone();
            for (_, endpoint) in places.into_iter().chain(without) {
                found.entry(endpoint.network_id.clone()).or_default().insert(cell.id.clone(), endpoint);
            }
        }
        // A sandbox of many has one address: it is listed by its own id.
        for sandbox in self.inner.registry.sandboxes() {
            let id = ContainerId::parse(sandbox.id.as_str()).ok();
            for (_, endpoint) in sandbox.live.read().endpoints.clone() {
                if let Some(id) = &id {
                    found.entry(endpoint.network_id.clone()).or_default().insert(id.clone(), endpoint);
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

    /// Made of the engine's id and the name: the same whenever somebody asks.
    fn id_without_bridge(&self, name: &str) -> NetworkId {
        NetworkId::parse(&digest(&format!("{}/{name}", self.inner.id)))
            .expect("a SHA-256 digest has 64 hex digits")
    }

    pub(crate) fn without_bridge(&self, name: &str, driver: &str) -> Network {
        Network {
            id: self.id_without_bridge(name),
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

fn digest(text: &str) -> String {
    hex::encode(<sha2::Sha256 as sha2::Digest>::digest(text))
}

//! Who may find whom by name.

use std::net::{IpAddr, Ipv4Addr};

use super::{Inner, NetworkId, NetworkKind};
use crate::{Config, NameLink, dns};

/// Where somebody who asks for a name is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Who it is. Nobody, at addresses that nobody has: whoever makes such up gains nothing by it.
    pub(crate) owner: String,
    /// The user-defined networks that it is in.
    pub(crate) networks: Vec<NetworkId>,
    /// Whether it is in internal networks only.
    pub(crate) internal: bool,
    /// Names of its own for others, and in which network.
    pub(crate) links: Vec<(NetworkId, NameLink)>,
    /// Whom it wants others' names asked of; empty for the host's resolvers.
    pub(crate) name_servers: Vec<IpAddr>,
}

impl Inner {
    /// What the network was opened with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The cluster's zone.
    pub(crate) fn zone(&self) -> &dns::SharedZone {
        &self.zone
    }

    /// Addresses at which we answer ourselves.
    pub(crate) fn own_name_servers(&self) -> Vec<Ipv4Addr> {
        let names = self.state.lock().names;
        [self.config.cluster_dns].into_iter().chain(names.map(|target| target.address)).collect()
    }

    /// Where the asker with this address is; `None` for strangers.
    pub(crate) fn place_of(&self, address: Ipv4Addr) -> Option<Place> {
        let state = self.state.lock();
        let network = state.networks.values().find(|network| network.subnet.contains(&address));
        if !address.is_loopback() && network.is_none() {
            return None;
        }
        let Some(asker) = state.endpoints.values().find(|endpoint| endpoint.address == address) else {
            // The host itself; or somebody who made up an address, and gets no more by that.
            let internal = network.is_some_and(|network| network.internal && network.gateway != address);
            return Some(Place { internal, ..Place::default() });
        };
        let own = || state.endpoints.values().filter(|endpoint| endpoint.owner == asker.owner);
        let links = own()
            .flat_map(|endpoint| endpoint.links.iter().map(|link| (endpoint.network.clone(), link.clone())))
            .collect();
        let mine: Vec<_> = own().filter_map(|endpoint| state.networks.get(&endpoint.network)).collect();
        let networks = mine
            .iter()
            .filter(|network| network.kind == NetworkKind::User)
            .map(|network| network.id.clone())
            .collect();
        let mut name_servers: Vec<IpAddr> = Vec::new();
        for server in own().flat_map(|endpoint| &endpoint.name_servers) {
            if !name_servers.contains(server) {
                name_servers.push(*server);
            }
        }
        let owner = asker.owner.clone();
        Some(Place {
            owner,
            networks,
            internal: mine.iter().all(|network| network.internal),
            links,
            name_servers,
        })
    }

    /// The addresses of the containers called `name` in the asker's networks.
    ///
    /// A container is called by its name, its aliases and the beginning of its id, each also with
    /// the network's name after a dot. A link of the asker's own goes before all these.
    pub(crate) fn addresses_of(&self, place: &Place, name: &str) -> Vec<Ipv4Addr> {
        const SHORT_ID: usize = 12;
        let state = self.state.lock();
        let mut found = Vec::new();
        for id in &place.networks {
            let Some(network) = state.networks.get(id) else { continue };
            let network_name = network.name.to_ascii_lowercase();
            let linked = place.links.iter().find_map(|(of, link)| {
                let is_meant = of == id && is_called(&link.alias, name, &network_name);
                is_meant.then(|| link.target.to_ascii_lowercase())
            });
            let name = linked.as_deref().unwrap_or(name);
            let called = |candidate: &str| is_called(candidate, name, &network_name);
            for endpoint in state.endpoints.values().filter(|endpoint| endpoint.network == *id) {
                let short = endpoint.owner.get(..SHORT_ID).unwrap_or(&endpoint.owner);
                let by_name = !endpoint.name.is_empty() && called(&endpoint.name);
                let by_id = linked.as_deref() == Some(&endpoint.owner);
                if by_name || by_id || called(short) || endpoint.aliases.iter().any(|alias| called(alias)) {
                    found.push(endpoint.address);
                }
            }
        }
        found
    }

    /// The name of the container with this address in the asker's networks, with the network's.
    pub(crate) fn name_of(&self, place: &Place, address: Ipv4Addr) -> Option<String> {
        let state = self.state.lock();
        let endpoint = state
            .endpoints
            .values()
            .find(|endpoint| endpoint.address == address && place.networks.contains(&endpoint.network))?;
        let network = state.networks.get(&endpoint.network)?;
        (!endpoint.name.is_empty()).then(|| format!("{}.{}", endpoint.name, network.name))
    }
}

/// Whether `asked` is `name`, alone or with the network's after a dot.
fn is_called(name: &str, asked: &str, network: &str) -> bool {
    let plain = asked.strip_suffix(network).and_then(|rest| rest.strip_suffix('.'));
    name.eq_ignore_ascii_case(asked) || plain.is_some_and(|plain| name.eq_ignore_ascii_case(plain))
}

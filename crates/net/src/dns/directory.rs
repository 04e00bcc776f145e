//! Who may find whom by name: containers by address and by name, as an index.
//!
//! The index is made of maps that share what did not change with what they were before, so that each
//! change gives a new one at the cost of the change, and whoever answers names reads the one that is
//! published without waiting for anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rpds::HashTrieMapSync;

use crate::{Endpoint, NameLink, NetworkId, NetworkKind, NetworkView};

/// How much of its id names a container.
const SHORT_ID: usize = 12;

/// The directory as it is now.
pub(crate) type SharedDirectory = ArcSwap<Directory>;

/// Networks and endpoints as names see them.
#[derive(Clone, Debug)]
pub(crate) struct Directory {
    networks: HashTrieMapSync<NetworkId, Arc<NetworkView>>,
    owners: HashTrieMapSync<String, Arc<Owner>>,
    /// Whose address it is.
    addresses: HashTrieMapSync<IpAddr, (Arc<Owner>, NetworkId)>,
    /// Owners that are called so in a network, and their addresses there.
    called: HashTrieMapSync<(NetworkId, String), BTreeMap<String, Vec<IpAddr>>>,
}

/// A sandbox with its endpoints.
#[derive(Debug, Default)]
struct Owner {
    place: Place,
    endpoints: BTreeMap<NetworkId, Endpoint>,
}

/// Where somebody who asks for a name is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// The network whose address it asks from; none for the host's own loopback.
    pub(crate) at: Option<NetworkId>,
    /// Whether it is the host itself.
    pub(crate) is_host: bool,
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

impl Default for Directory {
    fn default() -> Self {
        Self {
            networks: HashTrieMapSync::new_sync(),
            owners: HashTrieMapSync::new_sync(),
            addresses: HashTrieMapSync::new_sync(),
            called: HashTrieMapSync::new_sync(),
        }
    }
}

impl Directory {
    /// Takes up a network.
    pub(crate) fn network_insert(&mut self, network: &NetworkView) {
        self.networks.insert_mut(network.id.clone(), Arc::new(network.clone()));
    }

    /// Forgets a network that has no endpoints.
    pub(crate) fn network_remove(&mut self, id: &NetworkId) {
        self.networks.remove_mut(id);
    }

    /// Takes up an endpoint of a network that is there.
    pub(crate) fn endpoint_insert(&mut self, endpoint: Endpoint) {
        for name in names(&endpoint) {
            let key = (endpoint.network.clone(), name);
            let mut called = self.called.get(&key).cloned().unwrap_or_default();
            called.insert(endpoint.owner.clone(), endpoint.ips().collect());
            self.called.insert_mut(key, called);
        }
        let mut endpoints = self.endpoints_of(&endpoint.owner);
        let owner = endpoint.owner.clone();
        endpoints.insert(endpoint.network.clone(), endpoint);
        self.owner_set(owner, endpoints);
    }

    /// Forgets an endpoint, which is given as it was taken up.
    pub(crate) fn endpoint_remove(&mut self, endpoint: &Endpoint) {
        for name in names(endpoint) {
            let key = (endpoint.network.clone(), name);
            let Some(mut called) = self.called.get(&key).cloned() else { continue };
            called.remove(&endpoint.owner);
            if called.is_empty() {
                self.called.remove_mut(&key);
            } else {
                self.called.insert_mut(key, called);
            }
        }
        for address in endpoint.ips() {
            self.addresses.remove_mut(&address);
        }
        let mut endpoints = self.endpoints_of(&endpoint.owner);
        endpoints.remove(&endpoint.network);
        self.owner_set(endpoint.owner.clone(), endpoints);
    }

    /// Where the asker with this address is; `None` for strangers.
    pub(crate) fn place_of(&self, address: IpAddr) -> Option<Place> {
        if let Some((owner, network)) = self.addresses.get(&address) {
            return Some(Place { at: Some(network.clone()), ..owner.place.clone() });
        }
        if address.is_loopback() {
            return Some(Place { is_host: true, ..Place::default() });
        }
        let of = |network: &Arc<NetworkView>| Some((network.clone(), network.pool_of(address)?.gateway));
        let (network, gateway) = self.networks.values().find_map(of)?;
        // The host itself; or somebody who made up an address, and gets no more by that.
        let is_host = gateway == address;
        let internal = network.internal && !is_host;
        Some(Place { at: Some(network.id.clone()), is_host, internal, ..Place::default() })
    }

    /// The addresses of the containers called `name` (in lower case) in the asker's networks.
    ///
    /// A container is called by its name, its aliases and the beginning of its id, each also with
    /// the network's name after a dot. A link of the asker's own goes before all these.
    pub(crate) fn addresses_of(&self, place: &Place, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        for id in &place.networks {
            let Some(network) = self.networks.get(id) else { continue };
            let network_name = network.name.to_ascii_lowercase();
            let linked = place.links.iter().find_map(|(of, link)| {
                let is_meant = of == id && is_called(&link.alias, name, &network_name);
                is_meant.then(|| link.target.to_ascii_lowercase())
            });
            let name = linked.as_deref().unwrap_or(name);
            let mut here = BTreeMap::new();
            for name in [Some(name), without_network(name, &network_name)].into_iter().flatten() {
                let called = self.called.get(&(id.clone(), name.to_owned()));
                here.extend(called.into_iter().flatten().map(|(owner, ips)| (owner, ips.clone())));
            }
            // A link may name the other by its whole id.
            let by_id = linked.as_deref().and_then(|id| self.owners.get(id));
            let by_id = by_id.and_then(|owner| owner.endpoints.get(id));
            here.extend(by_id.map(|endpoint| (&endpoint.owner, endpoint.ips().collect())));
            found.extend(here.into_values().flatten());
        }
        found
    }

    /// The name of the container with this address in the asker's networks, with the network's.
    pub(crate) fn name_of(&self, place: &Place, address: IpAddr) -> Option<String> {
        let (owner, id) = self.addresses.get(&address).filter(|(_, id)| place.networks.contains(id))?;
        let endpoint = owner.endpoints.get(id)?;
        let network = self.networks.get(id)?;
        (!endpoint.name.is_empty()).then(|| format!("{}.{}", endpoint.name, network.name))
    }

    fn endpoints_of(&self, owner: &str) -> BTreeMap<NetworkId, Endpoint> {
        self.owners.get(owner).map(|owner| owner.endpoints.clone()).unwrap_or_default()
    }

    fn owner_set(&mut self, name: String, endpoints: BTreeMap<NetworkId, Endpoint>) {
        if endpoints.is_empty() {
            self.owners.remove_mut(&name);
            return;
        }
        let owner = Arc::new(Owner { place: self.place(&name, &endpoints), endpoints });
        for (id, endpoint) in &owner.endpoints {
            for address in endpoint.ips() {
                self.addresses.insert_mut(address, (Arc::clone(&owner), id.clone()));
            }
        }
        self.owners.insert_mut(name, owner);
    }

    fn place(&self, owner: &str, endpoints: &BTreeMap<NetworkId, Endpoint>) -> Place {
        let networks: Vec<_> = endpoints.keys().filter_map(|id| self.networks.get(id)).collect();
        let links = endpoints
            .iter()
            .flat_map(|(id, endpoint)| endpoint.links.iter().map(|link| (id.clone(), link.clone())));
        let mut name_servers: Vec<IpAddr> = Vec::new();
        for server in endpoints.values().flat_map(|endpoint| &endpoint.name_servers) {
            if !name_servers.contains(server) {
                name_servers.push(*server);
            }
        }
        Place {
            at: None,
            is_host: false,
            owner: owner.to_owned(),
            networks: networks
                .iter()
                .filter(|network| network.kind == NetworkKind::User)
                .map(|network| network.id.clone())
                .collect(),
            internal: networks.iter().all(|network| network.internal),
            links: links.collect(),
            name_servers,
        }
    }
}

/// What an endpoint is called in its network, in lower case.
fn names(endpoint: &Endpoint) -> BTreeSet<String> {
    let short = endpoint.owner.get(..SHORT_ID).unwrap_or(&endpoint.owner);
    let name = Some(endpoint.name.as_str()).filter(|name| !name.is_empty());
    let all = endpoint.aliases.iter().map(String::as_str).chain(name).chain([short]);
    all.map(str::to_ascii_lowercase).collect()
}

/// Whether `asked` is `name`, alone or with the network's after a dot.
fn is_called(name: &str, asked: &str, network: &str) -> bool {
    let plain = without_network(asked, network);
    name.eq_ignore_ascii_case(asked) || plain.is_some_and(|plain| name.eq_ignore_ascii_case(plain))
}

/// A name without that of the network after a dot, where it has that.
fn without_network<'a>(asked: &'a str, network: &str) -> Option<&'a str> {
    asked.strip_suffix(network).and_then(|rest| rest.strip_suffix('.'))
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::{EndpointAddress, Pool};

    fn id(digit: char) -> NetworkId {
        NetworkId::parse(&digit.to_string().repeat(64)).expect("an id")
    }

    fn network(digit: char, name: &str, kind: NetworkKind, subnet: &str) -> NetworkView {
        let subnet: ipnet::IpNet = subnet.parse().expect("a subnet");
        NetworkView {
            id: id(digit),
            name: name.to_owned(),
            kind,
            created: base::Timestamp::UNIX_EPOCH,
            pools: vec![Pool {
                subnet,
                range: None,
                gateway: subnet.hosts().next().expect("a gateway"),
                reserved: BTreeMap::new(),
                configured: true,
            }],
            internal: name == "cut",
            mtu: None,
            isolate_endpoints: false,
            no_masquerade: false,
            bridge: name.to_owned(),
            host_address: None,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }

    fn endpoint(owner: &str, network: char, name: &str, aliases: &[&str], address: [u8; 4]) -> Endpoint {
        Endpoint {
            id: format!("{owner}{network}"),
            owner: owner.to_owned(),
            network: id(network),
            name: name.to_owned(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            links: Vec::new(),
            name_servers: Vec::new(),
            addresses: vec![EndpointAddress {
                net: IpNet::new(address.into(), 24).expect("a prefix"),
                gateway: None,
            }],
            link_local: Vec::new(),
            priority: 0,
            mac: [0; 6],
            interface: "eth0".to_owned(),
            host_interface: "veth".to_owned(),
            ports: Vec::new(),
        }
    }

    fn directory() -> Directory {
        let mut directory = Directory::default();
        directory.network_insert(&network('a', "Front", NetworkKind::User, "10.0.1.0/24"));
        directory.network_insert(&network('b', "cut", NetworkKind::User, "10.0.2.0/24"));
        directory.network_insert(&network('c', "bridge", NetworkKind::Default, "10.0.3.0/24"));
        directory.endpoint_insert(endpoint(
            "0123456789abcdef",
            'a',
            "Web",
            &["www", "w.front"],
            [10, 0, 1, 2],
        ));
        directory.endpoint_insert(endpoint("0123456789abcdef", 'b', "Web", &[], [10, 0, 2, 2]));
        directory.endpoint_insert(endpoint("other", 'a', "db", &["www"], [10, 0, 1, 3]));
        directory.endpoint_insert(endpoint("plain", 'c', "plain", &[], [10, 0, 3, 2]));
        directory
    }

    #[track_caller]
    fn check(directory: &Directory, from: [u8; 4], name: &str, expected: &str) {
        let place = directory.place_of(from.into()).expect("no stranger");
        let found = directory.addresses_of(&place, name);
        let text: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(text.join(" "), expected, "{name}");
    }

    #[test]
    fn containers_are_found_by_whoever_shares_a_network_by_each_of_their_names() {
        let directory = directory();
        let db = [10, 0, 1, 3];
        check(&directory, db, "web", "10.0.1.2");
        check(&directory, db, "web.front", "10.0.1.2");
        check(&directory, db, "www", "10.0.1.2 10.0.1.3");
        check(&directory, db, "w.front", "10.0.1.2");
        check(&directory, db, "w", "");
        check(&directory, db, "0123456789ab", "10.0.1.2");
        check(&directory, db, "0123456789abcdef", "");
        check(&directory, db, "plain", "");
        check(&directory, [10, 0, 3, 2], "web", "");
        check(&directory, [10, 0, 1, 2], "web", "10.0.1.2 10.0.2.2");
        check(&directory, [127, 0, 0, 1], "web", "");
        assert_eq!(directory.place_of([192, 0, 2, 1].into()), None);
        let db = directory.place_of(db.into()).expect("no stranger");
        assert_eq!(directory.name_of(&db, [10, 0, 1, 2].into()).as_deref(), Some("Web.Front"));
        assert_eq!(directory.name_of(&db, [10, 0, 2, 2].into()), None, "of a network that it is not in");
    }

    #[test]
    fn a_link_of_ones_own_goes_before_names_and_may_name_a_whole_id() {
        let mut directory = directory();
        let link = |target: &str| NameLink { alias: "www".to_owned(), target: target.to_owned() };
        for (target, expected) in [("db", "10.0.1.3"), ("0123456789abcdef", "10.0.1.2"), ("nobody", "")] {
            let mut asker = endpoint("asker", 'a', "asker", &[], [10, 0, 1, 9]);
            asker.links = vec![link(target)];
            directory.endpoint_insert(asker.clone());
            check(&directory, [10, 0, 1, 9], "www", expected);
            check(&directory, [10, 0, 1, 9], "www.front", expected);
            directory.endpoint_remove(&asker);
        }
    }

    #[test]
    fn who_is_gone_is_found_no_more_and_others_are() {
        let mut directory = directory();
        let before = directory.clone();
        directory.endpoint_remove(&endpoint(
            "0123456789abcdef",
            'a',
            "Web",
            &["www", "w.front"],
            [10, 0, 1, 2],
        ));
        check(&directory, [10, 0, 1, 3], "www", "10.0.1.3");
        check(&directory, [10, 0, 1, 3], "web", "");
        let made_up = directory.place_of([10, 0, 1, 2].into()).expect("an address of the network");
        let nobody = Place { at: Some(id('a')), ..Place::default() };
        assert_eq!(made_up, nobody, "nobody has the address any more");
        let left = directory.place_of([10, 0, 2, 2].into()).expect("no stranger");
        assert!(left.internal, "it is in the internal network only");
        assert!(directory.place_of([10, 0, 2, 9].into()).expect("made up").internal);
        // Whoever reads the one of before sees all of it.
        check(&before, [10, 0, 1, 3], "web", "10.0.1.2");
    }
}

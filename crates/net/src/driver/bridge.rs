//! Networks that are bridges of the host, with a veth for each endpoint.
//!
//! Containers share a subnet, as Docker's do. Pods reach even their neighbours through the host, so that an
//! answer through a service comes back the way that the question took; where a pod is, behind which port
//! and with which address, is told to the bridge once and for all.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use base::{Random, SystemRandom};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use parking_lot::Mutex;

use super::{Asked, Attached, Driver, Way};
use crate::link::{self, Link, Links, Port, Veth, ipv6_disable};
use crate::network::tag;
use crate::{Config, Endpoint, KernelError, NetworkId, NetworkKind, NetworkView, address};

/// The bridges of one instance.
pub(crate) struct Bridge {
    /// What they are marked with.
    alias: String,
    /// What the names of veths begin with.
    prefix: String,
    links: Mutex<Links>,
    /// The kernel's numbers of the bridges.
    numbers: Mutex<BTreeMap<NetworkId, u32>>,
}

impl Bridge {
    /// The bridges of the instance of `config`, in the network namespace of this thread.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        Ok(Self {
            alias: alias(config),
            prefix: format!("{}_", tag(&config.instance)),
            links: Mutex::new(Links::open()?),
            numbers: Mutex::default(),
        })
    }

    fn number(&self, network: &NetworkView) -> io::Result<u32> {
        self.link(&network.id).ok_or_else(|| io::Error::other("the network's bridge was not made"))
    }

    /// Says where an endpoint is, behind this port: what another says of its addresses changes nothing.
    fn fix(links: &mut Links, bridge: u32, port: u32, endpoint: &Endpoint) -> io::Result<()> {
        links.port_address_set(port, endpoint.mac)?;
        endpoint.ips().try_for_each(|ip| links.neighbour_set(bridge, ip, endpoint.mac))
    }

    fn connect(
        &self,
        namespace: BorrowedFd<'_>,
        network: &NetworkView,
        endpoint: &Endpoint,
    ) -> io::Result<()> {
        let bridge = self.number(network)?;
        let veth = Veth {
            host: &endpoint.host_interface,
            host_mac: random_mac(),
            bridge,
            port: port(network),
            netns: namespace,
            inside: &endpoint.interface,
            mac: endpoint.mac,
            mtu: network.mtu,
        };
        let mut links = self.links.lock();
        links.veth_add(&veth)?;
        if network.kind != NetworkKind::Pods {
            return Ok(());
        }
        let port = links.find(&endpoint.host_interface)?.ok_or(io::ErrorKind::NotFound)?;
        Self::fix(&mut links, bridge, port.index, endpoint)
    }

    fn reconnect(&self, network: &NetworkView, endpoint: &Endpoint, link: &Link) -> io::Result<()> {
        let bridge = self.number(network)?;
        let mut links = self.links.lock();
        if link.master != Some(bridge) {
            links.master_set(link.index, bridge)?;
        }
        // Also where the bridge was made anew, or the pod by a version that did not say it.
        links.port_set(link.index, port(network))?;
        if network.kind == NetworkKind::Pods {
            Self::fix(&mut links, bridge, link.index, endpoint)?;
        }
        Ok(())
    }

    fn forget(&self, endpoint: &Endpoint) -> io::Result<()> {
        let Some(bridge) = self.link(&endpoint.network) else { return Ok(()) };
        let mut links = self.links.lock();
        endpoint.ips().try_for_each(|ip| links.neighbour_remove(bridge, ip))
    }
}

impl Driver for Bridge {
    fn create(&self, network: &NetworkView) -> Result<(), KernelError> {
        let failed = |what: &str| {
            let action = format!("{what} bridge `{}`", network.bridge);
            move |source| KernelError::new(action, source)
        };
        let mut links = self.links.lock();
        let index = match links.find(&network.bridge).map_err(failed("find"))? {
            Some(link) if self.owns(&link) => {
                links.bridge_set(link.index, &self.alias).map_err(failed("configure"))?;
                link.index
            }
            Some(link) => {
                let kind = if link.kind.is_empty() { "hardware" } else { &link.kind };
                let message = format!("a link of that name (kind {kind}) exists and is not this instance's");
                return Err(failed("make")(io::Error::new(io::ErrorKind::AlreadyExists, message)));
            }
            None => links
                .bridge_add(&network.bridge, &self.alias, address::mac_of(network.gateway()), network.mtu)
                .map_err(failed("make"))?,
        };
        ipv6_disable(&network.bridge).map_err(failed("turn off IPv6 on"))?;
        for pool in &network.pools {
            let address =
                IpNet::new(pool.gateway, pool.subnet.prefix_len()).expect("a subnet's prefix is valid");
            links.address_add(index, address).map_err(failed("give an address to"))?;
        }
        self.numbers.lock().insert(network.id.clone(), index);
        Ok(())
    }

    fn remove(&self, network: &NetworkView) -> Result<(), KernelError> {
        self.links
            .lock()
            .remove(&network.bridge)
            .map_err(|source| KernelError::new(format!("remove bridge `{}`", network.bridge), source))?;
        self.numbers.lock().remove(&network.id);
        Ok(())
    }

    fn attach(
        &self,
        namespace: BorrowedFd<'_>,
        network: &NetworkView,
        endpoint: &Endpoint,
        asked: Asked,
    ) -> Result<Attached, KernelError> {
        self.connect(namespace, network, endpoint).map_err(|source| {
            let tried = format!("connect `{}` to bridge `{}`", endpoint.interface, network.bridge);
            KernelError::new(tried, source)
        })?;
        Ok(attached(network, endpoint, asked))
    }

    fn open(&self, network: &NetworkView, endpoint: &Endpoint) -> Result<(), KernelError> {
        // The bridge is up with its first port.
        [&endpoint.host_interface, &network.bridge]
            .into_iter()
            .try_for_each(|link| link::settle(link))
            .map_err(|source| KernelError::new(format!("open link `{}`", endpoint.host_interface), source))
    }

    fn readmit(&self, network: &NetworkView, endpoint: &Endpoint) -> Result<bool, KernelError> {
        let failed = |what: &str| {
            let action = format!("{what} {}", endpoint.ip());
            move |source| KernelError::new(action, source)
        };
        let link = self.links.lock().find(&endpoint.host_interface).map_err(failed("find the link of"))?;
        match link {
            Some(link) => {
                self.reconnect(network, endpoint, &link).map_err(failed("say where to find"))?;
                Ok(true)
            }
            None => {
                self.forget(endpoint).map_err(failed("forget the neighbour"))?;
                Ok(false)
            }
        }
    }

    fn detach(&self, endpoint: &Endpoint) -> Result<(), KernelError> {
        let removed = self.links.lock().remove(&endpoint.host_interface);
        removed
            .and_then(|()| self.forget(endpoint))
            .map_err(|source| KernelError::new(format!("remove link `{}`", endpoint.host_interface), source))
    }

    fn clear(&self, networks: &[&NetworkView], endpoints: &[Endpoint]) -> Result<(), KernelError> {
        let mut links = self.links.lock();
        let mut all = links.list().map_err(|source| KernelError::new("list links", source))?;
        // Ports before their bridge.
        all.sort_by_key(|link| link.kind == "bridge");
        for link in &all {
            let is_left = if self.is_port(link) {
                !endpoints.iter().any(|endpoint| endpoint.host_interface == link.name)
            } else {
                self.owns(link) && !networks.iter().any(|network| network.bridge == link.name)
            };
            if is_left {
                links
                    .remove(&link.name)
                    .map_err(|source| KernelError::new(format!("remove link `{}`", link.name), source))?;
            }
        }
        Ok(())
    }

    fn is_used(&self, network: &NetworkView) -> Result<bool, KernelError> {
        let links = self.links.lock().list().map_err(|source| KernelError::new("list links", source))?;
        let index = links.iter().find(|link| link.name == network.bridge).map(|link| link.index);
        Ok(index.is_some_and(|index| links.iter().any(|link| link.master == Some(index))))
    }

    fn link(&self, network: &NetworkId) -> Option<u32> {
        self.numbers.lock().get(network).copied()
    }

    fn owns(&self, link: &Link) -> bool {
        is_own(link, &self.alias)
    }

    fn is_port(&self, link: &Link) -> bool {
        link.kind == "veth" && link.name.starts_with(&self.prefix)
    }
}

/// What the bridges of an instance are marked with.
pub(crate) fn alias(config: &Config) -> String {
    format!("gantry:{}", config.instance)
}

/// Whether a link is a bridge that is marked so.
pub(crate) fn is_own(link: &Link, alias: &str) -> bool {
    link.kind == "bridge" && link.alias == alias
}

/// What an endpoint's link is to have inside: pure.
fn attached(network: &NetworkView, endpoint: &Endpoint, asked: Asked) -> Attached {
    let is_pod = network.kind == NetworkKind::Pods;
    let way = |destination, gateway| Way { destination, gateway };
    let mut inside =
        Attached { addresses: Vec::new(), routes: Vec::new(), neighbours: Vec::new(), names: asked.names };
    for (address, pool) in endpoint.addresses.iter().zip(&network.pools) {
        let gateway = pool.gateway;
        if is_pod {
            inside.addresses.push(address.net.addr().into());
            inside.routes.push(way(gateway.into(), None));
            inside.neighbours.push((gateway, address::mac_of(network.gateway())));
        } else {
            inside.addresses.push(address.net);
        }
        if asked.default_route {
            inside.routes.push(way(everywhere(gateway), Some(gateway)));
        }
    }
    inside
}

/// All addresses of a family.
pub(crate) fn everywhere(of: IpAddr) -> IpNet {
    match of {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// How its members' links are ports of the network's bridge.
fn port(network: &NetworkView) -> Port {
    Port { isolated: network.isolate_endpoints, is_fixed: network.kind == NetworkKind::Pods }
}

/// A hardware address that no other link has.
pub(crate) fn random_mac() -> [u8; 6] {
    let mut bytes = [0; 6];
    SystemRandom.fill(&mut bytes);
    address::mac_from(bytes)
}

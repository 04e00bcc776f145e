//! Creating a network: its subnet, its bridge.

use std::net::IpAddr;

use base::{Clock, SystemClock, SystemRandom};
use ipnet::IpNet;

use super::{Inner, NetworkId, NetworkKind, NetworkSpec, NetworkView, Pool, PoolSpec, rules, tag};
use crate::exclusive::Exclusive;
use crate::link::Links;
use crate::{Config, KernelError, NetworkError, address};

/// Creates a user-defined network.
pub(super) fn create(inner: &Inner, spec: NetworkSpec) -> Result<NetworkView, NetworkError> {
    let mut links = inner.links.lock();
    let exclusive = Exclusive::acquire();
    let view = {
        let state = inner.state.lock();
        if spec.name.is_empty() {
            return Err(NetworkError::Invalid { message: "network name cannot be empty".to_owned() });
        }
        let is_called_so =
            |network: &NetworkView| network.kind != NetworkKind::Pods && network.name == spec.name;
        if state.networks().values().any(is_called_so) {
            return Err(NetworkError::Exists { name: spec.name });
        }
        let mut taken = Taken::find(&mut links, state.networks().values())?;
        taken.add_services(&inner.config.service_cidrs);
        let id = NetworkId::random(&SystemRandom);
        plan(inner, id, NetworkKind::User, spec, &taken)?
    };
    if let Some(other) = inner.state.lock().networks().values().find(|network| network.bridge == view.bridge)
    {
        let message = format!("bridge name {} is already used by network {}", view.bridge, other.name);
        return Err(NetworkError::Invalid { message });
    }
    if inner.state.lock().unknown.iter().any(|unknown| unknown.name == view.bridge) {
        let message = format!("bridge name {} is already used by a network that cannot be read", view.bridge);
        return Err(NetworkError::Invalid { message });
    }
    inner.driver.create(&view)?;
    drop(exclusive);
    drop(links);
    let kept = {
        let mut state = inner.state.lock();
        // On disk first: nobody sees a network that is not written down.
        let written = inner.disk.networks_write(state.networks().values().chain([&view]));
        written.map(|()| state.network_insert(view.clone()))
    };
    let result = match kept {
        Ok(()) => rules::apply(inner).map_err(NetworkError::from),
        Err(error) => Err(NetworkError::State { path: error.path, source: error.source }),
    };
    if let Err(error) = result {
        super::remove::undo(inner, &view);
        return Err(error);
    }
    let subnet = view.pools.first().map(|pool| pool.subnet);
    tracing::info!(network = view.name, ?subnet, bridge = view.bridge, "network created");
    Ok(view)
}

/// The network that `spec` asks for, or why there cannot be one.
pub(super) fn plan(
    inner: &Inner,
    id: NetworkId,
    kind: NetworkKind,
    spec: NetworkSpec,
    taken: &Taken,
) -> Result<NetworkView, NetworkError> {
    let invalid = |message: String| Err(NetworkError::Invalid { message });
    let mut pools = Vec::with_capacity(spec.pools.len().max(1));
    if spec.pools.is_empty() {
        let subnet = address::free_subnet(&inner.config.address_pools, &taken.subnets());
        let chosen = PoolSpec::new(subnet.ok_or(NetworkError::PoolsExhausted)?);
        pools.push(Pool { configured: false, ..pool(chosen, &Taken::default())? });
    }
    for wanted in spec.pools {
        if wanted.subnet.addr().is_ipv6() {
            return invalid(format!(
                "subnet {} is of IPv6, which networks do not have: leave it out",
                wanted.subnet
            ));
        }
        pools.push(pool(wanted, taken)?);
    }
    if pools.len() > 1 {
        return invalid("a network has one subnet of IPv4: leave the others out".to_owned());
    }
    let bridge =
        spec.bridge.unwrap_or_else(|| format!("{}-{}", tag(&inner.config.instance), &id.as_str()[..8]));
    if !link_name_fits(&bridge) {
        return invalid(format!("`{bridge}` cannot name a link: at most 15 bytes, without `/` and spaces"));
    }
    Ok(NetworkView {
        id,
        name: spec.name,
        kind,
        created: SystemClock::new().now(),
        pools,
        internal: spec.internal,
        mtu: spec.mtu,
        isolate_endpoints: spec.isolate_endpoints,
        no_masquerade: spec.no_masquerade,
        bridge,
        host_address: spec.host_address,
        options: spec.options,
        labels: spec.labels,
    })
}

/// The subnet that `wanted` asks for, or why there cannot be one.
///
/// It may lie inside of what the host has a route to, or be that: who asks for a subnet knows why. Where the
/// host itself has an address it would be cut off, and a bridge's neighbours with it.
fn pool(wanted: PoolSpec, taken: &Taken) -> Result<Pool, NetworkError> {
    let invalid = |message: String| Err(NetworkError::Invalid { message });
    let PoolSpec { subnet, range, gateway, reserved } = wanted;
    let is_of_host = |net: &IpNet| subnet.contains(&net.addr());
    let clash = taken.networks.iter().find(|(net, _)| address::overlap(*net, subnet));
    if let Some((_, with)) = clash.or_else(|| taken.addresses.iter().find(|(net, _)| is_of_host(net))) {
        return Err(NetworkError::Overlap { subnet, with: with.clone() });
    }
    let Some(gateway) = gateway.or_else(|| address::default_gateway(subnet)) else {
        return invalid(format!("subnet {subnet} has no address for a gateway"));
    };
    let subnet = subnet.trunc();
    let longest = subnet.max_prefix_len() - 2;
    if subnet.prefix_len() > longest {
        return invalid(format!("subnet {subnet} is too small for a network: at most /{longest}"));
    }
    let outside = |address: &IpAddr| !subnet.contains(address);
    if outside(&gateway) || reserved.values().any(outside) {
        return invalid(format!(
            "no matching subnet for gateway {gateway} or a reserved address in {subnet}"
        ));
    }
    if let Some(range) = range.filter(|range| !subnet.contains(range)) {
        return invalid(format!("no matching subnet for range {range}"));
    }
    Ok(Pool { subnet, range, gateway, reserved, configured: true })
}

/// What a new network must not overlap with, each with what has it.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The subnets of the other networks.
    pub(super) networks: Vec<(IpNet, String)>,
    /// What the host has a route to, but for everything.
    pub(super) routes: Vec<(IpNet, String)>,
    /// The host's own addresses, each with the prefix of its subnet.
    pub(super) addresses: Vec<(IpNet, String)>,
}

impl Taken {
    /// What `networks` have, and the host.
    pub(super) fn find<'a>(
        links: &mut Links,
        networks: impl Iterator<Item = &'a NetworkView>,
    ) -> Result<Self, KernelError> {
        let failed = |source| KernelError::new("list the host's routes", source);
        let subnets = |network: &'a NetworkView| {
            network.pools.iter().map(|pool| (pool.subnet, format!("network {}", network.name)))
        };
        let names: Vec<_> = links.list().map_err(failed)?;
        let link = |(net, index): (IpNet, u32)| {
            let name = names.iter().find(|link| link.index == index).map_or("?", |link| &link.name);
            (net, format!("link {name}"))
        };
        let routes = links.route_list().map_err(failed)?.into_iter();
        let addresses = links.address_list().map_err(failed)?.into_iter();
        Ok(Self {
            networks: networks.flat_map(subnets).collect(),
            // The default route leads everywhere; it takes nothing.
            routes: routes.filter(|(net, _)| net.prefix_len() > 0).map(link).collect(),
            addresses: addresses.map(|(index, net)| link((net, index))).collect(),
        })
    }

    /// Adds the addresses of services.
    pub(super) fn add_services(&mut self, subnets: &[IpNet]) {
        self.networks.extend(subnets.iter().map(|subnet| (*subnet, "the services".to_owned())));
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (IpNet, &str)> {
        let addresses = self.addresses.iter().map(|(net, with)| (net.trunc(), with.as_str()));
        let others = self.networks.iter().chain(&self.routes).map(|(net, with)| (*net, with.as_str()));
        others.chain(addresses)
    }

    /// All subnets.
    pub(super) fn subnets(&self) -> Vec<IpNet> {
        self.all().map(|(net, _)| net).collect()
    }
}

/// How the link of an endpoint is called on the host whose id begins so.
pub(super) fn host_interface(config: &Config, id: &str) -> String {
    format!("{}_{id}", tag(&config.instance))
}

/// Whether the kernel takes `name` for a link.
pub(super) fn link_name_fits(name: &str) -> bool {
    !name.is_empty()
        && name.len() < libc::IFNAMSIZ
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace())
        && name != "."
        && name != ".."
}

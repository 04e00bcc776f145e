//! Opening an instance's networks: what is kept on disk, what lives, what is wanted.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use base::SystemRandom;
use ipnet::{IpNet, Ipv4Net};
use offload::Threads;
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tables::Stray;
use super::{
    Inner, Network, NetworkId, NetworkKind, NetworkSpec, NetworkView, PoolSpec, State, Strangers, create,
    doctor, firewalld, gate, reap, rules, tag, watch,
};
use crate::config::Subnet;
use crate::driver::Bridge;
use crate::exclusive::Exclusive;
use crate::link::{Link, Links, Route};
use crate::namespace::{Pins, Pool};
use crate::nft::{Table, TableEvents, Target};
use crate::plan::{Limits, Services, UnknownBridge};
use crate::state::{StateDir, StateError, UnknownEndpoint};
use crate::{AddressPool, Config, Endpoint, KernelError, NetworkError, OpenError, address, dns, sandbox};

/// Whether the host passes on what is not for itself.
pub(super) const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";

/// What the blocking half of opening hands to the other.
struct Opened {
    inner: Inner,
    listeners: dns::Listeners,
    events: TableEvents,
}

/// Opens the networks and starts answering names and watching the rules.
pub(super) async fn open(config: Config) -> Result<Network, OpenError> {
    let opened = Threads::new(1).run(move || prepare(config)).await?;
    let inner = Arc::new(opened.inner);
    // SAFETY: the events own their socket, name the same one as long as they live, and are never
    // taken out of the registration.
    let events = unsafe { AsyncFd::register(opened.events) };
    let events = events.map_err(|error| KernelError::new("watch nftables", error.into()))?;
    dns::start(opened.listeners, &inner, &inner.tasks, &inner.stop)
        .map_err(|source| KernelError::new("listen for names", source))?;
    inner.tasks.spawn(watch::watch(inner.clone(), events));
    inner.tasks.spawn(inner.stop.clone().run_until_cancelled_owned(reap::run(inner.clone())));
    inner.tasks.spawn(inner.stop.clone().run_until_cancelled_owned(firewalld::watch(inner.clone())));
    inner.tasks.spawn(super::fill_pool(inner.clone()));
    Ok(Network { inner })
}

fn prepare(config: Config) -> Result<Opened, OpenError> {
    for name in [&config.instance, &config.bridge] {
        if !create::link_name_fits(name) && (name == &config.bridge || !name.is_ascii() || name.is_empty()) {
            return Err(OpenError::BadName { name: name.clone() });
        }
    }
    let disk = StateDir::open(&config.state_dir).map_err(failed)?;
    let failed = |what: &'static str| move |source| KernelError::new(what, source);
    let links = Links::open().map_err(failed("open a netlink socket for links"))?;
    let driver = Bridge::open(&config).map_err(failed("open a netlink socket for bridges"))?;
    let table = Table::open(&config.instance).map_err(failed("open a netlink socket for nftables"))?;
    let pins = Pins::open(&config.pins_dir).map_err(failed("make a place for network namespaces"))?;
    let (ports, log) = disk.services();
    let limits = Limits {
        service_cidrs: config.service_cidrs.clone(),
        loopback_targets: config.loopback_targets.clone(),
    };
    let directory: Arc<dns::SharedDirectory> = Arc::default();
    let inner = Inner {
        pool: Pool::new(config.ready_namespaces),
        pins,
        zone: dns::SharedZone::new(&config.cluster_domain),
        disk,
        table: Mutex::new(table),
        services: Mutex::new(rules::KeptServices { services: Services::restore(ports, limits), log }),
        links: Mutex::new(links),
        driver: Box::new(driver),
        state: Mutex::new(State::new(Arc::clone(&directory))),
        directory,
        firewalld: firewalld::Firewalld::default(),
        reap: Notify::new(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        threads: Threads::new(super::THREADS),
        config,
    };
    let strangers = forward(&inner)?;
    inner.state.lock().strangers = strangers;
    let kept = inner.disk.endpoints();
    networks(&inner, &kept.known)?;
    endpoints(&inner, kept.known)?;
    strays(&inner, kept.unknown)?;
    inner.guard_sandboxes();
    services(&inner)?;
    let gateway = super::find::of_kind(&inner.state.lock(), NetworkKind::Pods).gateway();
    let not_bound = |source| KernelError::new(format!("listen for names at {gateway}"), source);
    let listeners = dns::Listeners {
        of_cluster: dns::Listener::bind(gateway, 53).map_err(not_bound)?,
        of_containers: dns::Listener::bind(gateway, sandbox::NAMES_PORT).map_err(not_bound)?,
    };
    {
        let target = |listener: &dns::Listener| Some(Target { address: gateway, port: listener.port() });
        let mut state = inner.state.lock();
        state.names = target(&listeners.of_cluster);
        state.container_names = target(&listeners.of_containers);
    }
    let events = inner.table.lock().events().map_err(failed("watch nftables"))?;
    gate::open(&inner)?;
    if let Err(error) = rules::replace(&inner) {
        // A kernel without packet copying; the rest must work all the same.
        if inner.state.lock().gate.take().is_none() {
            return Err(error.into());
        }
        rules::replace(&inner)?;
        tracing::warn!(error = %base::error::chain(&error), "published ports are not subject to the host's input rules");
    }
    doctor::warn(&inner.config);
    Ok(Opened { inner, listeners, events })
}

/// Whether the host passes on what comes in by this link.
pub(super) fn forwarding_of(link: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{link}/forwarding")
}

/// Lets the host pass packets on, without which no container reaches anything. Between links that were
/// there before passes what passed before all the same: gives their names, also when the daemon starts
/// again.
fn forward(inner: &Inner) -> Result<Strangers, OpenError> {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let refused = |source| KernelError::new(format!("turn on `{FORWARDING}`"), source);
    let boot = std::fs::read_to_string(BOOT).map_err(refused)?;
    let links = || inner.links.lock().list().map_err(|source| KernelError::new("list links", source));
    if std::fs::read(FORWARDING).map_err(refused)?.first() == Some(&b'1') {
        if let Some(strangers) = inner.disk.strangers(&boot) {
            return Ok(strangers);
        }
        // It may have been no router, and must not be one because a file went bad.
        let gate = gate::names(&inner.config);
        let is_ours = |link: &Link| {
            link.name == "lo"
                || inner.driver.owns(link)
                || inner.driver.is_port(link)
                || [&gate.0, &gate.1].contains(&&link.name)
        };
        let all: Vec<String> =
            links()?.into_iter().filter(|link| !is_ours(link)).map(|link| link.name).collect();
        return Ok(Strangers { barred: all.clone(), all, guessed: true });
    }
    tracing::info!("turning on forwarding of packets (net.ipv4.ip_forward)");
    let links = links()?;
    // A host may pass packets on from single links, whatever is said of all of them.
    let is_router =
        |link: &String| std::fs::read(forwarding_of(link)).is_ok_and(|now| now.first() == Some(&b'1'));
    let strangers = links.into_iter().filter(|link| link.name != "lo" && !inner.driver.owns(link));
    let all: Vec<String> = strangers.map(|link| link.name).collect();
    let barred = all.iter().filter(|link| !is_router(link)).cloned().collect();
    let strangers = Strangers { all, barred, guessed: false };
    inner.disk.strangers_write(&boot, &strangers).map_err(failed)?;
    std::fs::write(FORWARDING, "1").map_err(refused)?;
    Ok(strangers)
}

/// Brings up the kept networks and makes those that there always are; of what nobody remembers of networks
/// and of the `endpoints` nothing stays.
fn networks(inner: &Inner, endpoints: &[Endpoint]) -> Result<(), OpenError> {
    let mut kept: BTreeMap<NetworkId, NetworkView> = inner
        .disk
        .networks()
        .map_err(failed)?
        .into_iter()
        .map(|network| (network.id.clone(), network))
        .collect();
    let mut links = inner.links.lock();
    let _exclusive = Exclusive::acquire();
    let config = &inner.config;
    let wanted = [(NetworkKind::Default, config.bip), (NetworkKind::Pods, config.pod_cidr)];
    for (kind, subnet) in wanted {
        let outdated = |network: &NetworkView| {
            let has = |subnet: IpNet| network.pools.iter().any(|pool| pool.subnet == subnet.trunc());
            let subnet = matches!(subnet, Subnet::Exactly(subnet) if !has(subnet));
            network.kind == kind && (subnet || network.bridge != bridge_name(config, kind))
        };
        if let Some(network) = kept.values().find(|network| outdated(network)).cloned() {
            if inner.driver.is_used(&network)? {
                tracing::warn!(network = network.name, "other settings wait until no container is attached");
            } else {
                kept.remove(&network.id);
            }
        }
    }
    // Of a network whose removal was cut short, or of a lost state directory.
    if inner.disk.knows_all() {
        inner.driver.clear(&kept.values().collect::<Vec<_>>(), endpoints)?;
    }
    for (kind, subnet) in wanted {
        if !kept.values().any(|network| network.kind == kind) {
            let network = predefined(inner, &mut links, kind, subnet, &kept)?;
            kept.insert(network.id.clone(), network);
        }
    }
    inner.disk.networks_write(kept.values()).map_err(failed)?;
    kept.values().try_for_each(|network| inner.driver.create(network))?;
    let mut state = inner.state.lock();
    kept.into_values().for_each(|network| state.network_insert(network));
    let all = links.list().map_err(|source| KernelError::new("list links", source))?;
    let is_known = |link: &Link| state.networks().values().any(|network| network.bridge == link.name);
    let unknown = all.iter().filter(|link| inner.driver.owns(link) && !is_known(link));
    let unknown = unknown.map(|link| {
        let name = link.name.clone();
        tracing::warn!(name, "the network of this bridge cannot be read: it is cut off from everything else");
        let mut ports = all.iter().filter(|port| port.master == Some(link.index)).peekable();
        UnknownBridge { name, linked: ports.peek().is_some() && ports.all(|port| !port.isolated) }
    });
    let unknown = unknown.collect();
    state.unknown = unknown;
    Ok(())
}

fn bridge_name(config: &Config, kind: NetworkKind) -> String {
    match kind {
        NetworkKind::Pods => format!("{}-pods", tag(&config.instance)),
        NetworkKind::Default | NetworkKind::User => config.bridge.clone(),
    }
}

fn predefined(
    inner: &Inner,
    links: &mut Links,
    kind: NetworkKind,
    subnet: Subnet,
    others: &BTreeMap<NetworkId, NetworkView>,
) -> Result<NetworkView, OpenError> {
    let name = if kind == NetworkKind::Pods { "pods" } else { "bridge" };
    let mut taken = create::Taken::find(links, others.values())?;
    if !inner.disk.knows_all() {
        // Its own bridge may be there still, with what the list that was lost said of it.
        let own = format!("link {}", bridge_name(&inner.config, kind));
        taken.routes.retain(|(_, with)| *with != own);
        taken.addresses.retain(|(_, with)| *with != own);
    }
    taken.add_services(&inner.config.service_cidrs);
    let pod_cidr = inner.config.pod_cidr.wanted();
    if kind == NetworkKind::Default {
        // The pods' network is made after this one and must not find its place taken.
        taken.networks.push((pod_cidr, "the pods".to_owned()));
    }
    let clash = taken.all().find(|(net, _)| address::overlap(*net, subnet.wanted()));
    let chosen = match (subnet, clash) {
        (subnet, None) => subnet.wanted(),
        (Subnet::Exactly(subnet), Some((_, link))) => {
            return Err(OpenError::SubnetTaken { subnet, link: link.to_owned() });
        }
        (Subnet::Preferably(_), Some((_, link))) => {
            let found = address::free_subnet(&pools(inner, kind), &taken.subnets());
            let found = found.ok_or_else(|| OpenError::NoSubnet { network: name.to_owned() })?;
            tracing::info!(network = name, wanted = %subnet.wanted(), with = link, chosen = %found, "subnet is taken");
            found
        }
    };
    let spec = NetworkSpec {
        name: name.to_owned(),
        pools: vec![PoolSpec::new(chosen)],
        bridge: Some(bridge_name(&inner.config, kind)),
        ..NetworkSpec::default()
    };
    create::plan(inner, NetworkId::random(&SystemRandom), kind, spec, &create::Taken::default()).map_err(
        |error| match error {
            NetworkError::Kernel(error) => OpenError::Kernel(error),
            error => OpenError::Kernel(KernelError::new(
                format!("make network `{name}`"),
                std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()),
            )),
        },
    )
}

fn pools(inner: &Inner, kind: NetworkKind) -> Vec<AddressPool> {
    match kind {
        // Where clusters usually have their pods, in pieces as large as the one asked for.
        NetworkKind::Pods => {
            let size = inner.config.pod_cidr.wanted().prefix_len();
            let base: IpNet = Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8).into();
            vec![AddressPool { base, size: size.max(base.prefix_len()) }]
        }
        NetworkKind::Default | NetworkKind::User => inner.config.address_pools.clone(),
    }
}

/// Takes up endpoints, and forgets those whose link is gone with their namespace.
fn endpoints(inner: &Inner, kept: Vec<Endpoint>) -> Result<(), OpenError> {
    let is_clear = inner.disk.knows_all();
    let mut state = inner.state.lock();
    for endpoint in kept {
        let network = state.networks().get(&endpoint.network).cloned();
        if network.is_none() && !is_clear {
            tracing::warn!(owner = endpoint.owner, network = %endpoint.network, "an endpoint's network cannot be read");
            // What it has published leads nowhere, and to nobody else.
            state.ports.restore(&endpoint.ports);
            state.stranded.push(endpoint);
            continue;
        }
        let is_there = match &network {
            Some(network) => inner.driver.readmit(network, &endpoint)?,
            None => false,
        };
        if !is_there {
            tracing::info!(owner = endpoint.owner, address = %endpoint.ip(), "endpoint is gone, forgotten");
            inner.disk.endpoint_remove(&endpoint.id).map_err(failed)?;
            continue;
        }
        state.ports.restore(&endpoint.ports);
        state.last.insert(endpoint.network.clone(), endpoint.ips().collect());
        state.endpoint_insert(endpoint);
    }
    Ok(())
}

/// Looks for the addresses of endpoints whose records cannot be read: nobody else may get them as long as
/// their links are there. What a namespace says goes before what is left of a record.
fn strays(inner: &Inner, unknown: Vec<UnknownEndpoint>) -> Result<(), OpenError> {
    let mut found = Vec::new();
    for UnknownEndpoint { id, addresses } in unknown {
        let Some(host_interface) = id.get(..8).map(|start| create::host_interface(&inner.config, start))
        else {
            continue;
        };
        let failed = |source| KernelError::new(format!("find link `{host_interface}`"), source);
        let Some(link) = inner.links.lock().find(&host_interface).map_err(failed)? else { continue };
        let network = {
            let state = inner.state.lock();
            let is_on = |network: &&NetworkView| inner.driver.link(&network.id) == link.master;
            state.networks().values().find(is_on).map(|network| network.id.clone())
        };
        let inside = inner.addresses_at(link.index);
        let addresses = if inside.is_empty() { addresses } else { inside };
        tracing::warn!(endpoint = id, ?addresses, "an endpoint that cannot be read keeps its addresses");
        found.push(Stray { host_interface, addresses, network });
    }
    inner.state.lock().strays = found;
    Ok(())
}

/// Gives the host a route to services: without one it would not get as far as having the address
/// translated.
fn services(inner: &Inner) -> Result<(), OpenError> {
    let mut links = inner.links.lock();
    let state = inner.state.lock();
    let pods = super::find::of_kind(&state, NetworkKind::Pods);
    let Some(bridge) = inner.driver.link(&pods.id) else { return Ok(()) };
    for destination in inner.config.service_cidrs.iter().copied() {
        let failed = |source| KernelError::new(format!("route services {destination}"), source);
        let other = links
            .route_list()
            .map_err(failed)?
            .into_iter()
            .find(|(net, link)| *net == destination && *link != bridge);
        if let Some((_, link)) = other {
            tracing::warn!(%destination, link, "services are already routed elsewhere: this host itself may not reach them");
            continue;
        }
        links.route_replace(Route { destination, gateway: None, link: bridge, metric: 0 }).map_err(failed)?;
    }
    Ok(())
}

fn failed(error: StateError) -> OpenError {
    OpenError::State { path: error.path, source: error.source }
}

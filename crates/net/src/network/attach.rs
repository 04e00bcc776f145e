//! Attaching a sandbox to a network.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use base::{Random, SystemRandom};
use ipnet::Ipv4Net;

use super::{Inner, NetworkId, NetworkKind, NetworkView, State, detach, reap, rules, tag};
use crate::link::{Links, Port, Veth};
use crate::sandbox::{self, Interface};
use crate::{AttachError, Endpoint, EndpointSpec, KernelError, address, conntrack};

/// What is decided before the kernel is asked.
struct Decision {
    endpoint: Endpoint,
    network: NetworkView,
    bridge: u32,
    default_route: bool,
    names_ready: bool,
}

/// Attaches the namespace `netns`; nothing is left behind when it fails.
pub(super) fn attach(
    inner: &Inner,
    netns: &OwnedFd,
    network: &NetworkId,
    spec: EndpointSpec,
) -> Result<Endpoint, AttachError> {
    let decision = match decide(inner, network, spec.clone()) {
        // Perhaps only because the links of ended sandboxes still have them.
        Err(error @ (AttachError::AddressTaken { .. } | AttachError::AddressesExhausted { .. })) => {
            let removed = reap::now(inner, network)
                .map_err(|source| KernelError::new("remove links of ended sandboxes", source))?;
            if removed { decide(inner, network, spec)? } else { return Err(error) }
        }
        decided => decided?,
    };
    if let Err(error) = carry_out(inner, netns, &decision) {
        if let Err(left) = detach::detach(inner, &decision.endpoint.owner, Some(network)) {
            tracing::warn!(error = %base::error::chain(&left), "a failed attachment could not be taken back");
        }
        return Err(error);
    }
    let Endpoint { owner, address, .. } = &decision.endpoint;
    tracing::debug!(owner, network = decision.network.name, %address, "attached");
    Ok(decision.endpoint)
}

/// Renames an owner's endpoints: all of them, or none if one cannot be written.
pub(super) fn rename(inner: &Inner, owner: &str, name: &str) -> Result<(), AttachError> {
    let mut state = inner.state.lock();
    let mine: Vec<Endpoint> = state.endpoints_of(owner).cloned().collect();
    for (at, endpoint) in mine.iter().enumerate() {
        let renamed = Endpoint { name: name.to_owned(), ..endpoint.clone() };
        if let Err(error) = inner.disk.endpoint_write(&renamed) {
            for endpoint in &mine[..at] {
                if let Err(error) = inner.disk.endpoint_write(endpoint) {
                    tracing::warn!(path = %error.path.display(), error = %error.source, "an endpoint's name stays changed");
                }
            }
            return Err(kept(error));
        }
    }
    for endpoint in mine {
        state.endpoint_insert(Endpoint { name: name.to_owned(), ..endpoint });
    }
    Ok(())
}

fn decide(inner: &Inner, id: &NetworkId, spec: EndpointSpec) -> Result<Decision, AttachError> {
    let mut guard = inner.state.lock();
    let state = &mut *guard;
    let (Some(network), Some(bridge)) = (state.networks().get(id).cloned(), state.bridges.get(id).copied())
    else {
        return Err(AttachError::NoNetwork { id: id.to_string() });
    };
    if state.endpoints().contains_key(&(spec.owner.clone(), id.clone())) {
        return Err(AttachError::Exists { name: spec.name, network: network.name });
    }
    let address = choose_address(state, &network, spec.address)?;
    let mut ports = spec.ports;
    for port in &mut ports {
        if let (true, Some(address)) = (port.host_address.is_unspecified(), network.host_address) {
            port.host_address = address;
        }
    }
    let ports = state.ports.claim(&ports)?;

    let mine = || state.endpoints_of(&spec.owner);
    let interface = spec.interface.unwrap_or_else(|| {
        let used: BTreeSet<_> = mine().map(|endpoint| endpoint.interface.as_str()).collect();
        let free = (0..).map(|number| format!("eth{number}")).find(|name| !used.contains(name.as_str()));
        free.expect("an owner has finitely many links")
    });
    let kind_of = |endpoint: &Endpoint| state.networks().get(&endpoint.network).map(|network| network.kind);
    let names_ready = mine().any(|endpoint| kind_of(endpoint) == Some(NetworkKind::User));
    let default_route =
        !network.internal && (spec.default_route || mine().all(|endpoint| endpoint.gateway.is_none()));

    let mut bytes = [0; 32];
    SystemRandom.fill(&mut bytes);
    let number: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let endpoint = Endpoint {
        host_interface: format!("{}_{}", tag(&inner.config.instance), &number[..8]),
        id: number,
        owner: spec.owner,
        network: id.clone(),
        name: spec.name,
        aliases: spec.aliases,
        links: spec.links,
        name_servers: spec.name_servers,
        address,
        prefix: network.subnet.prefix_len(),
        gateway: (!network.internal).then_some(network.gateway),
        mac: spec.mac.unwrap_or_else(|| address::mac_of(address)),
        interface,
        ports,
    };
    state.last.insert(id.clone(), address);
    state.endpoint_insert(endpoint.clone());
    Ok(Decision { endpoint, network, bridge, default_route, names_ready })
}

fn choose_address(
    state: &State,
    network: &NetworkView,
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, AttachError> {
    let taken: BTreeSet<Ipv4Addr> = state
        .endpoints()
        .values()
        .chain(&state.leaving)
        .filter(|endpoint| endpoint.network == network.id)
        .map(|endpoint| endpoint.address)
        .chain(network.reserved.values().copied())
        .chain([network.gateway])
        .collect();
    match wanted {
        Some(address) if !network.subnet.contains(&address) => Err(AttachError::AddressOutside { address }),
        Some(address) if taken.contains(&address) => Err(AttachError::AddressTaken { address }),
        Some(address) => Ok(address),
        None => {
            let range = network.range.unwrap_or(network.subnet);
            let last = state.last.get(&network.id).copied();
            address::free_address(network.subnet, range, last, &taken)
                .ok_or_else(|| AttachError::AddressesExhausted { network: network.name.clone() })
        }
    }
}

/// How its members' links are ports of the network's bridge.
pub(super) fn port(network: &NetworkView) -> Port {
    Port { isolated: network.isolate_endpoints, is_fixed: network.kind == NetworkKind::Pods }
}

fn carry_out(inner: &Inner, netns: &OwnedFd, decision: &Decision) -> Result<(), AttachError> {
    let Decision { endpoint, network, .. } = decision;
    // Pods reach even their neighbours through the host, so that an answer through a service comes
    // back the way that the question took; containers share a subnet as Docker's do.
    let is_pod = network.kind == NetworkKind::Pods;
    inner.disk.endpoint_write(endpoint).map_err(kept)?;
    let veth = Veth {
        host: &endpoint.host_interface,
        host_mac: random_mac(),
        bridge: decision.bridge,
        port: port(network),
        netns: netns.as_fd(),
        inside: &endpoint.interface,
        mac: endpoint.mac,
        mtu: network.mtu,
    };
    let connect = || {
        let mut links = inner.links.lock();
        links.veth_add(&veth)?;
        if !is_pod {
            return Ok(());
        }
        let port = links.find(&endpoint.host_interface)?.ok_or(io::ErrorKind::NotFound)?;
        fix(&mut links, decision.bridge, port.index, endpoint)
    };
    connect().map_err(|source| {
        KernelError::new(format!("connect `{}` to bridge `{}`", endpoint.interface, network.bridge), source)
    })?;
    let prefix = if is_pod { 32 } else { endpoint.prefix };
    let interface = Interface {
        name: &endpoint.interface,
        address: Ipv4Net::new(endpoint.address, prefix).expect("a subnet's prefix is valid"),
        gateway: network.gateway,
        gateway_mac: is_pod.then(|| address::mac_of(network.gateway)),
        default_route: decision.default_route,
        names: (network.kind == NetworkKind::User).then_some(inner.config.cluster_dns),
        names_ready: decision.names_ready,
    };
    sandbox::configure(netns.as_fd(), &interface).map_err(|source| {
        KernelError::new(format!("configure `{}` with {}", endpoint.interface, interface.address), source)
    })?;
    if !endpoint.ports.is_empty() {
        rules::apply(inner)?;
        conntrack::forget_ports(&endpoint.ports);
    }
    Ok(())
}

/// Says once and for all where a pod is, behind this port: what another says of its addresses changes
/// nothing.
pub(super) fn fix(links: &mut Links, bridge: u32, port: u32, endpoint: &Endpoint) -> io::Result<()> {
    links.port_address_set(port, endpoint.mac)?;
    links.neighbour_set(bridge, endpoint.address, endpoint.mac)
}

/// A hardware address that no other link has.
pub(super) fn random_mac() -> [u8; 6] {
    let mut bytes = [0; 6];
    SystemRandom.fill(&mut bytes);
    address::mac_from(bytes)
}

fn kept(error: crate::state::StateError) -> AttachError {
    AttachError::State { path: error.path, source: error.source }
}

//! Attaching a sandbox to a network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, OwnedFd};

use base::{Random, SystemRandom};
use ipnet::IpNet;

use super::tables::Stray;
use super::{Inner, NetworkId, NetworkKind, NetworkView, State, create, detach, reap, rules};
use crate::driver::Asked;
use crate::{
    AttachError, Endpoint, EndpointAddress, EndpointSpec, KernelError, Pool, address, conntrack, sandbox,
};

/// The prefix length of addresses that hold on a link (RFC 3927).
const LINK_LOCAL: u8 = 16;

/// What is decided before the kernel is asked.
struct Decision {
    endpoint: Endpoint,
    network: NetworkView,
    default_route: bool,
    names_ready: bool,
    /// The one that has led outside so far, if the new one does from now on.
    before: Option<Endpoint>,
}

/// Attaches the namespace `netns`; nothing is left behind when it fails.
pub(super) fn attach(
    inner: &Inner,
    netns: &OwnedFd,
    network: &NetworkId,
    spec: EndpointSpec,
) -> Result<Endpoint, AttachError> {
    forget_strays(inner)?;
    let decision = match decide(inner, network, spec.clone()) {
        // Perhaps only because the links of ended sandboxes still have them.
        Err(error @ (AttachError::AddressTaken { .. } | AttachError::AddressesExhausted { .. })) => {
            let removed = reap::now(inner, network)?;
            if removed { decide(inner, network, spec)? } else { return Err(error) }
        }
        decided => decided?,
    };
    if let Err(error) = carry_out(inner, netns, &decision) {
        let owner = &decision.endpoint.owner;
        if let Err(left) = detach::leave(inner, owner, network, detach::Published::Goes) {
            tracing::warn!(error = %base::error::chain(&left), "a failed attachment could not be taken back");
        }
        return Err(error);
    }
    let mut endpoint = decision.endpoint;
    if let Some(before) = decision.before.filter(|before| !before.ports.is_empty()) {
        match detach::move_ports(inner, &before, &endpoint) {
            Ok(moved) => endpoint = moved,
            // They lead where they did.
            Err(error) => {
                tracing::warn!(owner = endpoint.owner, error = %base::error::chain(&error), "published ports stay with another network")
            }
        }
    }
    tracing::debug!(owner = endpoint.owner, network = decision.network.name, address = %endpoint.ip(), "attached");
    Ok(endpoint)
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

/// Forgets endpoints that could not be read and whose links are gone.
fn forget_strays(inner: &Inner) -> Result<(), KernelError> {
    let strays: Vec<String> =
        inner.state.lock().strays.iter().map(|stray| stray.host_interface.clone()).collect();
    for link in strays {
        let failed = |source| KernelError::new(format!("find link `{link}`"), source);
        if inner.links.lock().find(&link).map_err(failed)?.is_none() {
            inner.state.lock().strays.retain(|stray| stray.host_interface != link);
        }
    }
    Ok(())
}

fn decide(inner: &Inner, id: &NetworkId, spec: EndpointSpec) -> Result<Decision, AttachError> {
    let mut guard = inner.state.lock();
    let state = &mut *guard;
    let Some(network) = state.networks().get(id).cloned() else {
        return Err(AttachError::NoNetwork { id: id.to_string() });
    };
    if state.endpoints().contains_key(&(spec.owner.clone(), id.clone())) {
        return Err(AttachError::Exists { name: spec.name, network: network.name });
    }
    if let Some(interface) = spec.interface.as_ref()
        && state.endpoints_of(&spec.owner).any(|endpoint| endpoint.interface == *interface)
    {
        return Err(AttachError::InterfaceTaken { interface: interface.clone() });
    }
    let addresses = choose_addresses(state, &network, &spec.addresses)?;
    check_link_local(state, &network, &spec.link_local)?;
    let ips: Vec<IpAddr> = addresses.iter().map(|address| address.net.addr()).collect();
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
    let mut bytes = [0; 32];
    SystemRandom.fill(&mut bytes);
    let number: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let endpoint = Endpoint {
        host_interface: create::host_interface(&inner.config, &number[..8]),
        id: number,
        owner: spec.owner,
        network: id.clone(),
        name: spec.name,
        aliases: spec.aliases,
        links: spec.links,
        name_servers: spec.name_servers,
        addresses,
        link_local: spec.link_local,
        priority: spec.priority,
        mac: spec.mac.unwrap_or_else(|| address::mac_of(ips[0])),
        interface,
        ports,
    };
    state.last.insert(id.clone(), ips);
    state.endpoint_insert(endpoint.clone());
    let way_out = state.way_out_of(&endpoint.owner, None);
    let default_route = way_out.is_some_and(|way_out| way_out.id == endpoint.id);
    let before = state.way_out_of(&endpoint.owner, Some(&endpoint)).filter(|_| default_route);
    Ok(Decision { endpoint, network, default_route, names_ready, before })
}

/// One address in each subnet of `network`: one of `wanted`, or a free one.
fn choose_addresses(
    state: &State,
    network: &NetworkView,
    wanted: &[IpAddr],
) -> Result<Vec<EndpointAddress>, AttachError> {
    if let Some(address) = wanted.iter().find(|address| network.pool_of(**address).is_none()) {
        return Err(AttachError::AddressOutside { address: *address });
    }
    let members = state.endpoints().values().chain(&state.leaving);
    let members = members.filter(|endpoint| endpoint.network == network.id);
    let mut taken: BTreeSet<IpAddr> = members.flat_map(Endpoint::ips).collect();
    // Of whichever network they were once.
    taken.extend(state.stranded.iter().flat_map(Endpoint::ips));
    taken.extend(state.strays.iter().flat_map(|stray| &stray.addresses));
    // It has one that nobody knows.
    let hides = |stray: &&Stray| {
        stray.network.as_ref() == Some(&network.id)
            && !stray.addresses.iter().any(|address| network.pool_of(*address).is_some())
    };
    let hidden = state.strays.iter().find(hides);
    for pool in &network.pools {
        taken.extend(pool.reserved.values().copied().chain([pool.gateway]));
    }
    // Containers get the lowest free one, as from Docker. What in a cluster still remembers a pod's address should
    // not reach another pod there.
    let last = match network.kind {
        NetworkKind::Pods => state.last.get(&network.id).map_or(&[][..], Vec::as_slice),
        NetworkKind::Default | NetworkKind::User => &[],
    };
    let choose = |pool: &Pool| {
        let within = |addresses: &[IpAddr]| addresses.iter().copied().find(|one| pool.subnet.contains(one));
        let address = match within(wanted) {
            Some(address) if taken.contains(&address) => return Err(AttachError::AddressTaken { address }),
            Some(address) => address,
            None => {
                if let Some(stray) = hidden {
                    let (network, link) = (network.name.clone(), stray.host_interface.clone());
                    return Err(AttachError::AddressesUnknown { network, link });
                }
                let range = pool.range.unwrap_or(pool.subnet);
                address::free_address(pool.subnet, range, within(last), &taken)
                    .ok_or_else(|| AttachError::AddressesExhausted { network: network.name.clone() })?
            }
        };
        let net = IpNet::new(address, pool.subnet.prefix_len()).expect("a subnet's prefix is valid");
        Ok(EndpointAddress { net, gateway: (!network.internal).then_some(pool.gateway) })
    };
    network.pools.iter().map(choose).collect()
}

/// Refuses addresses that hold on a link, and are another's on it or none of that kind.
fn check_link_local(state: &State, network: &NetworkView, wanted: &[Ipv4Addr]) -> Result<(), AttachError> {
    let members = state.endpoints().values().filter(|endpoint| endpoint.network == network.id);
    let taken: BTreeSet<Ipv4Addr> = members.flat_map(|endpoint| &endpoint.link_local).copied().collect();
    for &address in wanted {
        if !address.is_link_local() {
            return Err(AttachError::NotLinkLocal { address: address.into() });
        }
        if taken.contains(&address) {
            return Err(AttachError::AddressTaken { address: address.into() });
        }
    }
    Ok(())
}

fn carry_out(inner: &Inner, netns: &OwnedFd, decision: &Decision) -> Result<(), AttachError> {
    let Decision { endpoint, network, .. } = decision;
    inner.disk.endpoint_write(endpoint).map_err(kept)?;
    let asked = Asked { default_route: decision.default_route, names: inner.names_for(network) };
    let mut attached = inner.driver.attach(netns.as_fd(), network, endpoint, asked)?;
    let link_local = |&address| IpNet::new(IpAddr::V4(address), LINK_LOCAL).expect("a prefix of IPv4");
    attached.addresses.extend(endpoint.link_local.iter().map(link_local));
    sandbox::configure(netns.as_fd(), &endpoint.interface, &attached, decision.names_ready).map_err(
        |source| {
            KernelError::new(format!("configure `{}` with {}", endpoint.interface, endpoint.ip()), source)
        },
    )?;
    if let Err(error) = inner.driver.open(network, endpoint) {
        // It opens by itself, only later.
        tracing::debug!(owner = endpoint.owner, error = %base::error::chain(&error), "a link is not open yet");
    }
    if !endpoint.ports.is_empty() {
        rules::apply(inner)?;
        conntrack::forget_ports(&endpoint.ports);
    }
    Ok(())
}

fn kept(error: crate::state::StateError) -> AttachError {
    AttachError::State { path: error.path, source: error.source }
}

//! What the name server asks of the network.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::{Inner, NetworkId, NetworkKind, NetworkView};
use crate::dns::{self, Directory};
use crate::link::Links;
use crate::{Config, Endpoint, namespace, sandbox};

impl Inner {
    /// What the network was opened with.
    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    /// The cluster's zone.
    pub(crate) fn zone(&self) -> &dns::SharedZone {
        &self.zone
    }

    /// Who may find whom, as it is now.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Where 127.0.0.11 leads to inside the sandboxes of a network, if they find each other by name.
    pub(super) fn names_for(&self, network: &NetworkView) -> Option<Ipv4Addr> {
        network.names_gateway().filter(|_| network.kind == NetworkKind::User)
    }

    /// Guards the loopback of each pinned sandbox that finds others by name.
    pub(super) fn guard_sandboxes(&self) {
        let owners: BTreeSet<String> = {
            let state = self.state.lock();
            state.endpoints().values().chain(&state.stranded).map(|endpoint| endpoint.owner.clone()).collect()
        };
        for owner in owners {
            match self.pins.get(&owner) {
                Ok(Some(netns)) => self.guard_sandbox(&owner, netns.as_fd()),
                Ok(None) => {}
                Err(error) => tracing::warn!(owner, %error, "a pinned network namespace cannot be opened"),
            }
        }
    }

    /// Guards the loopback of a sandbox that finds others by name, or of whose network nothing is known.
    pub(super) fn guard_sandbox(&self, owner: &str, netns: BorrowedFd<'_>) {
        let finds_others = {
            let state = self.state.lock();
            let kind =
                |endpoint: &Endpoint| state.networks().get(&endpoint.network).map(|network| network.kind);
            state.endpoints_of(owner).any(|endpoint| kind(endpoint) == Some(NetworkKind::User))
                || state.stranded.iter().any(|endpoint| endpoint.owner == owner)
        };
        if finds_others && let Err(error) = sandbox::guard(netns) {
            tracing::warn!(owner, %error, "the loopback of a sandbox cannot be guarded");
        }
    }

    /// The addresses at the other end of a cable, if that is in a pinned namespace.
    pub(super) fn addresses_at(&self, cable: u32) -> Vec<IpAddr> {
        let look = || {
            let mut links = Links::open()?;
            let ends: Vec<u32> =
                links.list()?.iter().filter(|link| link.peer == Some(cable)).map(|link| link.index).collect();
            let there = links.address_list()?.into_iter().filter(|(link, _)| ends.contains(link));
            Ok(there.map(|(_, net)| net.addr()).collect())
        };
        for owner in self.pins.owners().unwrap_or_default() {
            let Ok(Some(netns)) = self.pins.get(&owner) else { continue };
            let found: Vec<IpAddr> = namespace::inside(netns.as_fd(), look).unwrap_or_default();
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// The number of the link by which the host reaches a network.
    pub(crate) fn link_of(&self, network: &NetworkId) -> Option<u32> {
        self.driver.link(network)
    }

    /// Addresses at which we answer ourselves.
    pub(crate) fn own_name_servers(&self) -> Vec<IpAddr> {
        let names = self.state.lock().names;
        let cluster = self.config.cluster_dns.iter().copied();
        cluster.chain(names.map(|target| target.address)).collect()
    }
}

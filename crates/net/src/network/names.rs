//! What the name server asks of the network.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::{Inner, NetworkKind, NetworkView};
use crate::Config;
use crate::dns::{self, Directory};

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
        let v4 = |address: &IpAddr| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        };
        let cluster = self.config.cluster_dns.iter().find_map(v4);
        cluster.filter(|_| network.kind == NetworkKind::User)
    }

    /// Addresses at which we answer ourselves.
    pub(crate) fn own_name_servers(&self) -> Vec<IpAddr> {
        let names = self.state.lock().names;
        let cluster = self.config.cluster_dns.iter().copied();
        cluster.chain(names.map(|target| target.address)).collect()
    }
}

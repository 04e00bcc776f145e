//! What the name server asks of the network.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::Inner;
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

    /// Addresses at which we answer ourselves.
    pub(crate) fn own_name_servers(&self) -> Vec<Ipv4Addr> {
        let names = self.state.lock().names;
        [self.config.cluster_dns].into_iter().chain(names.map(|target| target.address)).collect()
    }
}

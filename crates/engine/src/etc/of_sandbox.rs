//! Those that all containers of a sandbox see.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::{EtcFiles, Resolver, resolv};
use crate::engine::Engine;
use crate::error::Result;
use crate::registry::SharedSandbox;
use crate::sandbox::SandboxNetwork;

impl Engine {
    /// Writes the files that all its containers see in `/etc` into `directory`.
    pub(crate) fn sandbox_files(&self, cell: &SharedSandbox, hostname: &str, directory: &Path) -> Result<()> {
        let spec = &cell.spec;
        let live = cell.live.read().clone();
        let own = live.endpoints.values().filter_map(|at| at.ipv4).map(|net| IpAddr::V4(net.addr()));
        let gateway = live.endpoints.values().find_map(|at| at.gateway);
        let of_host = spec.network == SandboxNetwork::Host;
        let network = &self.inner.network;
        // Whoever makes a sandbox says how names are resolved in it, or has the host's way.
        let conf = if of_host { network.resolv_conf_host() } else { network.resolv_conf_outside() };
        let etc = EtcFiles {
            hostname: hostname.to_owned(),
            own: own.map(|address| (address, vec![hostname.to_owned()])).collect(),
            hosts: &spec.hosts,
            gateway: gateway.unwrap_or(Ipv4Addr::LOCALHOST),
            resolv: resolv(Resolver { conf, knows_names: false }, &spec.dns, &self.inner.config.dns),
            of_host,
        };
        etc.write(directory).map(drop)
    }
}

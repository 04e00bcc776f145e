//! The files of `/etc` that say who and where a container is.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::container::{Dns, HostEntry};
use crate::error::{Context, Result};

/// What goes into them.
pub(crate) struct EtcFiles<'a> {
    pub(crate) hostname: String,
    /// Own addresses with own names.
    pub(crate) own: Vec<(IpAddr, Vec<String>)>,
    /// What was asked for.
    pub(crate) hosts: &'a [HostEntry],
    /// The host as the container sees it.
    pub(crate) gateway: Ipv4Addr,
    pub(crate) resolv: net::ResolvConf,
    /// The names that the host itself knows are known too.
    pub(crate) of_host: bool,
}

impl EtcFiles<'_> {
    /// Writes them into `directory`.
    ///
    /// In place: they are bind-mounted as files, so a running container would not see new ones.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let mut entries: Vec<(IpAddr, Vec<String>)> = self
            .hosts
            .iter()
            .map(|entry| (entry.address.unwrap_or(IpAddr::V4(self.gateway)), entry.names.clone()))
            .collect();
        entries.extend(self.own.iter().cloned());
        let hosts = match std::fs::read_to_string("/etc/hosts") {
            Ok(of_host) if self.of_host => {
                let lines: String = entries
                    .iter()
                    .map(|(address, names)| format!("{address}\t{}\n", names.join(" ")))
                    .collect();
                of_host + &lines
            }
            _ => net::HostsFile { entries }.to_string(),
        };
        for (name, text) in [
            ("hosts", hosts),
            ("hostname", format!("{}\n", self.hostname)),
            ("resolv.conf", self.resolv.to_string()),
        ] {
            let path = directory.join(name);
            std::fs::write(&path, text).context(|| format!("write `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// The name servers of the network with what was asked for over them.
pub(crate) fn resolv(of_network: net::ResolvConf, asked: &Dns, configured: &[IpAddr]) -> net::ResolvConf {
    let mut conf = of_network;
    let servers = if asked.servers.is_empty() { configured } else { &asked.servers };
    // A network that knows its containers' names must stay the one to be asked.
    let knows_names = conf.nameservers.iter().any(IpAddr::is_loopback);
    if !servers.is_empty() && !knows_names {
        conf.nameservers = servers.to_vec();
    }
    if !asked.search.is_empty() {
        conf.search = asked.search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    if !asked.options.is_empty() {
        conf.options.clone_from(&asked.options);
    }
    conf
}

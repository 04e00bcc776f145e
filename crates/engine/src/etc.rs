//! The files of `/etc` that say who and where a container is.

mod of_container;
mod of_sandbox;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::container::{Dns, HostEntry};
use crate::error::{Context, Result};

/// So many bytes of what was in one are kept.
const LONGEST: u64 = 1 << 20;

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
    /// In place: they are bind-mounted as files, so a running container would not see new ones. One that
    /// cannot be written is as it was, and so are the others.
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
        let texts = [
            ("hosts", hosts),
            ("hostname", format!("{}\n", self.hostname)),
            ("resolv.conf", self.resolv.to_string()),
        ];
        let mut written: Vec<(PathBuf, Vec<u8>)> = Vec::new();
        for (name, text) in texts {
            let path = directory.join(name);
            match rewrite(&path, text.as_bytes()) {
                Ok(before) => written.extend(before.map(|before| (path, before))),
                Err(error) => {
                    for (path, before) in written {
                        if let Err(error) = overwrite(&path, &before) {
                            tracing::warn!(path = %path.display(), %error, "write a container's file as it was");
                        }
                    }
                    return Err(error).context(|| format!("write `{}`", path.display()));
                }
            }
        }
        Ok(())
    }
}

/// Writes a file anew, in place; gives what was in it, unless it is the same. A failure leaves that.
fn rewrite(path: &Path, text: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut before = Vec::new();
    match File::open(path) {
        // The container may have written whatever it likes.
        Ok(file) => drop(file.take(LONGEST).read_to_end(&mut before)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if before == text {
        return Ok(None);
    }
    match overwrite(path, text) {
        Ok(()) => Ok(Some(before)),
        Err(error) => {
            // On a full disk what was there has its place still: nothing was cut off yet.
            overwrite(path, &before)?;
            Err(error)
        }
    }
}

fn overwrite(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(text)?;
    file.set_len(text.len() as u64)
}

/// How names are resolved where a container or a sandbox is.
pub(crate) struct Resolver {
    pub(crate) conf: net::ResolvConf,
    /// It is the network's own, which knows the containers' names, and must stay the one to be asked.
    pub(crate) knows_names: bool,
}

/// What the place gives, with what was asked for over it.
pub(crate) fn resolv(of_place: Resolver, asked: &Dns, configured: &[IpAddr]) -> net::ResolvConf {
    let Resolver { mut conf, knows_names } = of_place;
    let servers = if asked.servers.is_empty() { configured } else { &asked.servers };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_holds_whatever_the_host_asks_but_not_over_a_networks_own() {
        let check = |of_place: &str, knows_names: bool, expected: &str| {
            let address = |text: &str| text.parse().expect("an address");
            let conf = net::ResolvConf { nameservers: vec![address(of_place)], ..Default::default() };
            let asked = Dns { servers: vec![address("10.43.0.10")], ..Dns::default() };
            let found = resolv(Resolver { conf, knows_names }, &asked, &[]);
            assert_eq!(found.nameservers, [address(expected)], "{of_place}, knows names: {knows_names}");
        };
        check("192.0.2.53", false, "10.43.0.10");
        // The stub of systemd's resolver, dnsmasq, and a host that is itself a container.
        check("127.0.0.53", false, "10.43.0.10");
        check("127.0.0.1", false, "10.43.0.10");
        check("127.0.0.11", false, "10.43.0.10");
        check("127.0.0.11", true, "127.0.0.11");
    }
}

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

/// What was written into them last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    hosts: String,
    hostname: String,
    resolv_conf: String,
}

impl EtcFiles<'_> {
    /// Writes them into `directory`, whatever is there.
    ///
    /// In place: they are bind-mounted as files, so a running container would not see new ones. One that
    /// cannot be written is as it was, and so are the others.
    pub(crate) fn write(&self, directory: &Path) -> Result<Written> {
        let next = self.texts();
        let texts =
            [("hosts", &next.hosts), ("hostname", &next.hostname), ("resolv.conf", &next.resolv_conf)];
        put(directory, &texts.map(|(name, text)| (name, text.clone())))?;
        Ok(next)
    }

    /// Writes what has changed since `last`: lines of `hosts`, and the others as a whole. What somebody else has
    /// written there since stays.
    pub(crate) fn update(&self, directory: &Path, last: &Written) -> Result<Written> {
        let next = self.texts();
        let mut texts = changed_hosts(directory, last, &next)?;
        for (name, last, next) in [
            ("hostname", &last.hostname, &next.hostname),
            ("resolv.conf", &last.resolv_conf, &next.resolv_conf),
        ] {
            if last != next && read(&directory.join(name))? == last.as_bytes() {
                texts.push((name, next.clone()));
            }
        }
        put(directory, &texts)?;
        Ok(next)
    }

    /// As [`EtcFiles::update`], of `hosts` alone.
    pub(crate) fn update_hosts(&self, directory: &Path, last: &Written) -> Result<Written> {
        let next = self.texts();
        put(directory, &changed_hosts(directory, last, &next)?)?;
        Ok(Written { hosts: next.hosts, ..last.clone() })
    }

    /// What is in them where nobody else has written.
    pub(crate) fn texts(&self) -> Written {
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
        Written { hosts, hostname: format!("{}\n", self.hostname), resolv_conf: self.resolv.to_string() }
    }
}

fn changed_hosts(directory: &Path, last: &Written, next: &Written) -> Result<Vec<(&'static str, String)>> {
    if last.hosts == next.hosts {
        return Ok(Vec::new());
    }
    let now = read(&directory.join("hosts"))?;
    Ok(vec![("hosts", merge(&last.hosts, &String::from_utf8_lossy(&now), &next.hosts))])
}

/// `now` with the lines of `next` in place of those of `last`; other lines stay.
fn merge(last: &str, now: &str, next: &str) -> String {
    if now == last {
        return next.to_owned();
    }
    let without = |all: &str, these: &str| -> Vec<String> {
        let mut these: Vec<&str> = these.lines().collect();
        let mut left = Vec::new();
        for line in all.lines() {
            match these.iter().position(|other| *other == line) {
                Some(at) => drop(these.remove(at)),
                None => left.push(line.to_owned()),
            }
        }
        left
    };
    let gone = without(last, next).join("\n");
    let mut lines = without(now, &gone);
    lines.extend(without(next, last));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Writes all of these, or none.
fn put(directory: &Path, texts: &[(&'static str, String)]) -> Result<()> {
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

/// What is in a file; the container may have written whatever it likes.
fn read(path: &Path) -> Result<Vec<u8>> {
    read_start(path).context(|| format!("read `{}`", path.display()))
}

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => drop(file.take(LONGEST).read_to_end(&mut text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(text)
}

/// Writes a file anew, in place; gives what was in it, unless it is the same. A failure leaves that.
fn rewrite(path: &Path, text: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let before = read_start(path)?;
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
    fn lines_of_others_stay_where_own_ones_change() {
        let check = |last: &str, now: &str, next: &str, expected: &str| {
            let text =
                |lines: &str| lines.split_terminator(' ').map(|line| format!("{line}\n")).collect::<String>();
            assert_eq!(merge(&text(last), &text(now), &text(next)), text(expected), "{last}, {now}, {next}");
        };
        check("a b c", "a b c", "a c d", "a c d");
        check("a b c", "a b c mine", "a c d", "a c mine d");
        check("a b b", "b mine a b", "a b", "mine a b");
        // What somebody took away does not come again, unless it is new.
        check("a b c", "b", "b c d", "b d");
        check("a", "mine", "a", "mine");
        check("a b", "a mine", "a", "a mine");
    }

    #[test]
    fn only_what_has_changed_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect("read");
        let write =
            |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("write");
        let files = |own: &str, server: &str| EtcFiles {
            hostname: "box".to_owned(),
            own: vec![(own.parse().expect("an address"), vec!["box".to_owned()])],
            hosts: &[],
            gateway: Ipv4Addr::LOCALHOST,
            resolv: net::ResolvConf {
                nameservers: vec![server.parse().expect("an address")],
                ..Default::default()
            },
            of_host: false,
        };
        let last = files("192.0.2.1", "192.0.2.53").write(directory.path()).expect("write");
        write("hosts", &format!("{}198.51.100.1\tmine\n", read("hosts")));
        write("hostname", "mine\n");
        let last = files("192.0.2.2", "192.0.2.54").update_hosts(directory.path(), &last).expect("update");
        let hosts = read("hosts");
        assert!(hosts.contains("mine") && hosts.contains("192.0.2.2\tbox") && !hosts.contains("192.0.2.1"));
        assert!(read("resolv.conf").contains("192.0.2.53"), "it is not asked for");
        let last = files("192.0.2.2", "192.0.2.55").update(directory.path(), &last).expect("update");
        assert!(read("resolv.conf").contains("192.0.2.55"));
        write("resolv.conf", "# mine\n");
        files("192.0.2.3", "192.0.2.56").update(directory.path(), &last).expect("update");
        assert_eq!((read("resolv.conf"), read("hostname")), ("# mine\n".to_owned(), "mine\n".to_owned()));
        assert!(read("hosts").contains("192.0.2.3\tbox"));
    }

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

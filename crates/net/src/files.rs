//! Contents of `/etc/hosts` and `/etc/resolv.conf` for containers and pods.

use std::net::IpAddr;

/// The content of an `/etc/hosts`; `to_string` gives the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsFile {
    /// Lines after those for the loopback: an address and its names.
    pub entries: Vec<(IpAddr, Vec<String>)>,
}

/// The content of a `/etc/resolv.conf`; `to_string` gives the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Whom to ask.
    pub nameservers: Vec<IpAddr>,
    /// Domains to try for short names.
    pub search: Vec<String>,
    /// Options, as `ndots:5`.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of a `resolv.conf`; what is not understood is left out.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or("").split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address: Option<IpAddr> =
                        words.next().and_then(|word| word.split('%').next()?.parse().ok());
                    conf.nameservers.extend(address);
                }
                // The last of several lines counts.
                Some("search" | "domain") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }
}

impl std::fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.search.is_empty() {
            writeln!(f, "search {}", self.search.join(" "))?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for HostsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             ff00::0\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n",
        )?;
        for (address, names) in &self.entries {
            writeln!(f, "{address}\t{}", names.join(" "))?;
        }
        Ok(())
    }
}

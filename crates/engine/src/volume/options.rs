//! What a volume's options `type`, `o` and `device` come to, as `mount` reads them.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use super::Volume;
use crate::error::{Error, Result};

/// A mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MountOptions {
    device: String,
    kind: String,
    flags: MountFlags,
    propagation: Option<MountPropagationFlags>,
    /// What only the file system knows.
    data: String,
}

/// Words that set flags.
const SETS: [(&str, MountFlags); 12] = [
    ("ro", MountFlags::RDONLY),
    ("nosuid", MountFlags::NOSUID),
    ("nodev", MountFlags::NODEV),
    ("noexec", MountFlags::NOEXEC),
    ("sync", MountFlags::SYNCHRONOUS),
    ("dirsync", MountFlags::DIRSYNC),
    ("noatime", MountFlags::NOATIME),
    ("nodiratime", MountFlags::NODIRATIME),
    ("relatime", MountFlags::RELATIME),
    ("strictatime", MountFlags::STRICTATIME),
    ("bind", MountFlags::BIND),
    ("rbind", MountFlags::BIND.union(MountFlags::REC)),
];

/// Words that take flags back.
const CLEARS: [(&str, MountFlags); 9] = [
    ("rw", MountFlags::RDONLY),
    ("suid", MountFlags::NOSUID),
    ("dev", MountFlags::NODEV),
    ("exec", MountFlags::NOEXEC),
    ("async", MountFlags::SYNCHRONOUS),
    ("atime", MountFlags::NOATIME),
    ("diratime", MountFlags::NODIRATIME),
    ("norelatime", MountFlags::RELATIME),
    ("nostrictatime", MountFlags::STRICTATIME),
];

const PROPAGATIONS: [(&str, MountPropagationFlags); 4] = [
    ("private", MountPropagationFlags::PRIVATE),
    ("shared", MountPropagationFlags::SHARED),
    ("slave", MountPropagationFlags::DOWNSTREAM),
    ("unbindable", MountPropagationFlags::UNBINDABLE),
];

/// Refuses options that a volume cannot have, or cannot have without others.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<()> {
    if let Some(key) = options.keys().find(|key| !matches!(key.as_str(), "type" | "o" | "device" | "size")) {
        return Err(Error::invalid(format!("invalid option: \"{key}\"")));
    }
    let port =
        |device: &String| device.split("://").nth(1).unwrap_or(device.trim_start_matches('/')).to_owned();
    let host = options.get("device").map(port).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    if options.get("type").is_some_and(|kind| kind == "cifs") && host.contains(':') {
        return Err(Error::invalid("port not allowed in CIFS device URL, include 'port' in 'o='"));
    }
    for (key, needs) in [("device", &["type"][..]), ("o", &["device", "type"]), ("type", &["device"])] {
        if options.contains_key(key)
            && let Some(missing) = needs.iter().find(|needed| !options.contains_key(**needed))
        {
            return Err(Error::invalid(format!("missing required option: \"{missing}\"")));
        }
    }
    Ok(())
}

impl MountOptions {
    /// Those of a volume. Asks for the address of a server that is named.
    pub(super) fn of(volume: &Volume) -> Result<Self> {
        let option = |key: &str| volume.options.get(key).map(String::as_str).unwrap_or_default();
        let mut options = Self::parse(option("device"), option("type"), option("o"));
        match options.kind.as_str() {
            "nfs" | "nfs4" | "cifs" if options.data.contains("addr=") => {
                let words = options.data.split(',').map(|word| match word.strip_prefix("addr=") {
                    Some(name) => Ok(format!("addr={}", address(name)?)),
                    None => Ok(word.to_owned()),
                });
                options.data = words.collect::<Result<Vec<_>>>()?.join(",");
            }
            "cifs" => {
                if let Some(rest) = options.device.strip_prefix("//")
                    && let Some((host, share)) = rest.split_once('/')
                {
                    options.device = format!("//{}/{share}", address(host)?);
                }
            }
            _ => {}
        }
        Ok(options)
    }

    fn parse(device: &str, kind: &str, words: &str) -> Self {
        let mut options = Self {
            device: device.to_owned(),
            kind: kind.to_owned(),
            flags: MountFlags::empty(),
            propagation: None,
            data: String::new(),
        };
        let mut data = Vec::new();
        for word in words.split(',').filter(|word| !matches!(*word, "" | "defaults")) {
            let (deep, bare) = match word.strip_prefix('r') {
                Some(bare) => (true, bare),
                None => (false, word),
            };
            let propagation = |name: &str| PROPAGATIONS.iter().find(|(known, _)| *known == name);
            if let Some((_, flag)) = SETS.iter().find(|(known, _)| *known == word) {
                options.flags |= *flag;
            } else if let Some((_, flag)) = CLEARS.iter().find(|(known, _)| *known == word) {
                options.flags -= *flag;
            } else if let Some((_, flag)) = propagation(word) {
                options.propagation = Some(*flag);
            } else if deep && let Some((_, flag)) = propagation(bare) {
                options.propagation = Some(*flag | MountPropagationFlags::REC);
            } else {
                data.push(word);
            }
        }
        options.data = data.join(",");
        options
    }

    /// Mounts it at `place`.
    pub(super) fn mount(&self, place: &Path) -> Result<()> {
        self.try_mount(place).map_err(|error| {
            let mut text = format!("failed to mount local volume: mount {}:{}", self.device, place.display());
            if !self.flags.is_empty() {
                text += &format!(", flags: {:#x}", self.flags.bits());
            }
            if !self.data.is_empty() {
                let words = self.data.split(',');
                let shown = words.map(|word| match word.split_once('=') {
                    Some(("password" | "pass", _)) => "password=********",
                    _ => word,
                });
                text += &format!(", data: {}", shown.collect::<Vec<_>>().join(","));
            }
            Error::internal(text).with_source(error)
        })
    }

    fn try_mount(&self, place: &Path) -> io::Result<()> {
        let data = CString::new(self.data.as_str())?;
        let data = Some(data.as_c_str()).filter(|data| !data.is_empty());
        let once = self.flags
            - if self.flags.contains(MountFlags::BIND) { MountFlags::RDONLY } else { MountFlags::empty() };
        mount(self.device.as_str(), place, self.kind.as_str(), once, data)?;
        let after = || -> io::Result<()> {
            if let Some(propagation) = self.propagation {
                mount_change(place, propagation)?;
            }
            // The first call of a bind mount looks at no other flag.
            let rest = self.flags - (MountFlags::BIND | MountFlags::REC);
            if self.flags.contains(MountFlags::BIND) && !rest.is_empty() {
                rustix::mount::mount_remount(place, MountFlags::BIND | rest, "")?;
            }
            Ok(())
        };
        after().inspect_err(|_| super::mount::unmount(place))
    }
}

/// The address of a host; one of IPv4 if it has such.
fn address(host: &str) -> Result<String> {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    let wrong = |error: io::Error| {
        Error::internal(format!("error resolving passed in network volume address: lookup {host}"))
            .with_source(error)
    };
    let found: Vec<_> = (host, 0).to_socket_addrs().map_err(wrong)?.map(|address| address.ip()).collect();
    let found = found.iter().find(|address| address.is_ipv4()).or(found.first());
    found.map(ToString::to_string).ok_or_else(|| wrong(io::ErrorKind::NotFound.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(pairs: &[(&str, &str)], problem: &str) {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let found = check(&options).map_err(|error| error.full_message());
        assert_eq!(found.err().as_deref().unwrap_or_default(), problem, "{pairs:?}");
    }

    #[test]
    fn options_need_each_other() {
        refused(&[("device", "/x"), ("type", "none"), ("o", "bind")], "");
        refused(&[("size", "1G")], "");
        refused(&[("mountpoint", "/x")], "invalid option: \"mountpoint\"");
        refused(&[("device", "/x"), ("o", "bind")], "missing required option: \"type\"");
        refused(&[("type", "tmpfs")], "missing required option: \"device\"");
        refused(&[("o", "bind")], "missing required option: \"device\"");
        let port = "port not allowed in CIFS device URL, include 'port' in 'o='";
        refused(&[("type", "cifs"), ("device", "//host:445/share")], port);
    }

    #[test]
    fn words_are_flags_or_the_file_system_s() {
        let options = MountOptions::parse(":/share", "nfs", "addr=192.0.2.1,ro,nosuid,rw,hard,rslave");
        assert_eq!(options.flags, MountFlags::NOSUID);
        assert_eq!(options.data, "addr=192.0.2.1,hard");
        let deep = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        assert_eq!(options.propagation, Some(deep));
        let options = MountOptions::parse("/x", "none", "ro,rbind,defaults,");
        assert_eq!(options.flags, MountFlags::RDONLY | MountFlags::BIND | MountFlags::REC);
        assert_eq!(options.data, "");
    }

    #[test]
    fn what_could_not_be_mounted_is_said_without_passwords() {
        let options = MountOptions::parse("/dev/none", "cifs", "user=a,password=secret,ro");
        let error = options.mount(Path::new("/nonexistent-place")).expect_err("there is no such place");
        let text = error.to_string();
        assert_eq!(
            text,
            "failed to mount local volume: mount /dev/none:/nonexistent-place, flags: 0x1, data: user=a,password=********"
        );
    }
}

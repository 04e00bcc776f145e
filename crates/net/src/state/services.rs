//! Services, in a log of what became of each of their ports.
//!
//! `services.log` is a document a line. The first tells the version, each other what became of one port:
//! what it is (`set`), which of its endpoints are others and how many there are (`endpoints`), or that it
//! is gone (`gone`). What is appended is as long as what changed. When more than half of the log tells of
//! what is no more, it is written anew.
//!
//! The log is not flushed: whoever made the services tells them again, so that it only bridges the time
//! from the daemon's start until then. A line that was cut off, and what follows one that makes no sense,
//! is left out. A log of a later version, and one that the disk does not give, is left alone and told;
//! nothing is written down then. It is read line by line: however long the whole is, no more than a line
//! and what comes of it is in memory.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base::Trouble;
use base::record::Record;
use serde::{Deserialize, Serialize};

use super::StateError;
use super::endpoint::Protocol;
use crate::plan::{Change, Changes};
use crate::services::{self, ServiceKey, ServicePort};
use crate::{ServiceEndpoint, ServiceName};

const VERSION: u32 = 1;
/// How much a log may grow whatever is in it.
const SLACK: u64 = 256 << 10;
/// How long a line may be: a port with so many endpoints that its change would take seconds.
const LONGEST_LINE: u64 = 64 << 20;

/// The log, at its end.
#[derive(Debug)]
pub(crate) struct ServicesLog {
    root: PathBuf,
    file: Place,
}

/// Where a log is written to.
#[derive(Debug)]
enum Place {
    /// At its end.
    Open(Open),
    /// It has to be written anew.
    None,
    /// Nowhere: what is there is not understood, and is left alone.
    Left,
}

/// Why a log was not read.
#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the log has version {0}, and this program knows up to {VERSION}: use the program that wrote it")]
    Newer(u32),
    #[error("its first line says no version")]
    Damaged,
}

#[derive(Debug)]
struct Open {
    file: File,
    length: u64,
    /// Bytes that the log has when it is written anew.
    whole: u64,
}

/// What a log says.
#[derive(Default)]
struct Said {
    ports: BTreeMap<ServiceKey, ServicePort>,
    /// How many of its bytes make sense; none where there is no log.
    length: u64,
    /// Whether all of them do.
    is_whole: bool,
}

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
}

/// What became of a port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Set {
        key: Key,
        port: Port,
    },
    Endpoints {
        key: Key,
        /// How many there are.
        count: usize,
        /// Those that are others, with their numbers.
        at: Vec<(usize, Endpoint)>,
    },
    Gone {
        key: Key,
    },
}

/// Namespace and name of the service, name of the port.
#[derive(Serialize, Deserialize)]
struct Key(String, String, String);

#[derive(Serialize, Deserialize)]
struct Port {
    /// The external ones too, where an earlier program wrote it.
    addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    external_addresses: Vec<IpAddr>,
    protocol: Protocol,
    port: u16,
    node_port: Option<u16>,
    #[serde(with = "affinity")]
    client_affinity: Option<u32>,
    external_local: bool,
    internal_local: bool,
    /// In the order of their numbers.
    endpoints: Vec<Endpoint>,
}

/// For how many seconds a client keeps its endpoint: `false` where it does not, and `true` where an earlier
/// program wrote it, for what a service says that says nothing.
mod affinity {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) const USUAL: u32 = 10_800;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Said {
        Whether(bool),
        Seconds(u32),
    }

    pub(super) fn serialize<S: Serializer>(seconds: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        seconds.map_or(Said::Whether(false), Said::Seconds).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
        Ok(match Said::deserialize(deserializer)? {
            Said::Whether(keeps) => keeps.then_some(USUAL),
            Said::Seconds(seconds) => Some(seconds),
        })
    }
}

/// Address, port, and whether it is on this node.
#[derive(Serialize, Deserialize)]
struct Endpoint(IpAddr, u16, bool);

base::same_fields!(
    Port = services::ServicePort {
        addresses,
        external_addresses,
        protocol: inner,
        port,
        node_port,
        client_affinity,
        external_local,
        internal_local,
        endpoints: each,
    }
);

impl From<ServiceEndpoint> for Endpoint {
    fn from(endpoint: ServiceEndpoint) -> Self {
        let ServiceEndpoint { address, port, local } = endpoint;
        Self(address, port, local)
    }
}

impl From<Endpoint> for ServiceEndpoint {
    fn from(Endpoint(address, port, local): Endpoint) -> Self {
        Self { address, port, local }
    }
}

impl From<&ServiceKey> for Key {
    fn from(key: &ServiceKey) -> Self {
        Self(key.service.namespace.clone(), key.service.name.clone(), key.port.clone())
    }
}

impl From<Key> for ServiceKey {
    fn from(Key(namespace, name, port): Key) -> Self {
        Self { service: ServiceName { namespace, name }, port }
    }
}

impl ServicesLog {
    /// The ports as they were last, the log for what becomes of them, and what is the matter with it.
    pub(super) fn read(root: &Path) -> (BTreeMap<ServiceKey, ServicePort>, Self, Option<Trouble>) {
        let mut log = Self { root: root.to_owned(), file: Place::None };
        match read(&log.path()) {
            Ok(Said { length: 0, .. }) => (earlier::read(root), log, None),
            Ok(Said { ports, length, is_whole }) => {
                if is_whole && let Ok(file) = OpenOptions::new().append(true).open(log.path()) {
                    log.file = Place::Open(Open { file, length, whole: whole(&ports).len() as u64 });
                }
                (ports, log, None)
            }
            Err(error) => {
                log.file = Place::Left;
                let trouble = trouble(&log.path(), &error);
                (BTreeMap::new(), log, Some(trouble))
            }
        }
    }

    /// Writes down what changed; `all` are the ports as they are now.
    pub(crate) fn append(
        &mut self,
        changes: &Changes,
        all: &BTreeMap<ServiceKey, ServicePort>,
    ) -> Result<(), StateError> {
        let open = match &mut self.file {
            Place::Open(open) => open,
            Place::None => return self.write_anew(all),
            Place::Left => return Ok(()),
        };
        let mut bytes = Vec::new();
        for (key, change) in changes {
            write_line(&mut bytes, &line(key, change));
        }
        let length = open.length + bytes.len() as u64;
        if length > SLACK + 2 * open.whole {
            return self.write_anew(all);
        }
        if let Err(source) = open.file.write_all(&bytes) {
            // Half a line would hide those that follow it.
            let _ = open.file.set_len(open.length);
            self.file = Place::None;
            return Err(StateError { path: self.path(), source });
        }
        open.length = length;
        Ok(())
    }

    fn write_anew(&mut self, all: &BTreeMap<ServiceKey, ServicePort>) -> Result<(), StateError> {
        let path = self.path();
        self.file = Place::None;
        let bytes = whole(all);
        let open = || {
            base::fs::write_atomic_unsynced(&path, &bytes, 0o600)?;
            OpenOptions::new().append(true).open(&path)
        };
        match open() {
            Ok(file) => {
                let length = bytes.len() as u64;
                self.file = Place::Open(Open { file, length, whole: length });
                earlier::remove(&self.root);
                Ok(())
            }
            Err(source) => Err(StateError { path, source }),
        }
    }

    fn path(&self) -> PathBuf {
        path(&self.root)
    }
}

/// Removes what is kept in `root`.
pub(super) fn clear(root: &Path) -> Result<(), StateError> {
    earlier::remove(root);
    super::remove(path(root))
}

fn path(root: &Path) -> PathBuf {
    root.join("services.log")
}

fn whole(all: &BTreeMap<ServiceKey, ServicePort>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_line(&mut bytes, &Header { version: VERSION });
    for (key, port) in all {
        write_line(&mut bytes, &Line::Set { key: key.into(), port: port.clone().into() });
    }
    bytes
}

fn write_line<T: Serialize>(bytes: &mut Vec<u8>, line: &T) {
    serde_json::to_writer(&mut *bytes, line).expect("these types have no map, and memory takes all bytes");
    bytes.push(b'\n');
}

fn line(key: &ServiceKey, change: &Change) -> Line {
    let key = Key::from(key);
    let Some(new) = &change.new else { return Line::Gone { key } };
    if let Some(old) = change.old.as_ref().filter(|old| differ_in_endpoints_only(old, new)) {
        let numbered = new.endpoints.iter().enumerate();
        let others = numbered.filter(|(number, endpoint)| old.endpoints.get(*number) != Some(*endpoint));
        let at: Vec<_> = others.map(|(number, endpoint)| (number, Endpoint::from(*endpoint))).collect();
        if at.len() <= new.endpoints.len() / 2 {
            return Line::Endpoints { key, count: new.endpoints.len(), at };
        }
    }
    Line::Set { key, port: new.clone().into() }
}

fn differ_in_endpoints_only(old: &ServicePort, new: &ServicePort) -> bool {
    let ServicePort {
        addresses,
        external_addresses,
        protocol,
        port,
        node_port,
        client_affinity,
        external_local,
        internal_local,
        endpoints: _,
    } = old;
    *addresses == new.addresses
        && *external_addresses == new.external_addresses
        && *protocol == new.protocol
        && *port == new.port
        && *node_port == new.node_port
        && *client_affinity == new.client_affinity
        && *external_local == new.external_local
        && *internal_local == new.internal_local
}

/// What could not be read of the log in `root`. Changes nothing.
pub(super) fn examine(root: &Path) -> Option<Trouble> {
    let path = path(root);
    read(&path).err().map(|error| trouble(&path, &error))
}

fn trouble(path: &Path, error: &ReadError) -> Trouble {
    let problem = format!(
        "{}; services that change are not written down, and a daemon that starts knows them when it is told",
        base::error::chain(error)
    );
    Trouble::saying("the log of services", path, problem)
}

/// Reads a log as far as it makes sense.
fn read(path: &Path) -> Result<Said, ReadError> {
    let file = match base::record::open_plain(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Said::default()),
        file => file?,
    };
    let mut lines = BufReader::with_capacity(64 << 10, file);
    let mut line = Vec::new();
    let mut next = |line: &mut Vec<u8>| {
        line.clear();
        lines.by_ref().take(LONGEST_LINE).read_until(b'\n', line)
    };
    next(&mut line)?;
    if !line.ends_with(b"\n") && line.len() < LONGEST_LINE as usize {
        // There is nothing in it yet.
        return Ok(Said::default());
    }
    let header: Header = serde_json::from_slice(&line).map_err(|_| ReadError::Damaged)?;
    match header.version {
        VERSION => {}
        0 => return Err(ReadError::Damaged),
        version => return Err(ReadError::Newer(version)),
    }
    let mut said = Said { length: line.len() as u64, ..Said::default() };
    loop {
        if next(&mut line)? == 0 {
            return Ok(Said { is_whole: true, ..said });
        }
        let parsed = if line.ends_with(b"\n") { serde_json::from_slice::<Line>(&line).ok() } else { None };
        if parsed.and_then(|line| follow(&mut said.ports, line)).is_none() {
            return Ok(said);
        }
        said.length += line.len() as u64;
    }
}

/// Does what a line tells; none if that makes no sense.
fn follow(ports: &mut BTreeMap<ServiceKey, ServicePort>, line: Line) -> Option<()> {
    match line {
        Line::Set { key, port } => {
            ports.insert(key.into(), port.into());
        }
        Line::Gone { key } => {
            ports.remove(&key.into());
        }
        Line::Endpoints { key, count, at } => {
            let endpoints = &mut ports.get_mut(&key.into())?.endpoints;
            endpoints.truncate(count);
            for (number, endpoint) in at {
                if number == endpoints.len() {
                    endpoints.push(endpoint.into());
                } else {
                    *endpoints.get_mut(number)? = endpoint.into();
                }
            }
            (endpoints.len() == count).then_some(())?;
        }
    }
    Some(())
}

/// What earlier programs wrote: the whole table, at each change.
mod earlier {
    use super::*;

    /// `services.json`.
    #[derive(Serialize, Deserialize)]
    struct ServicesFile {
        services: Table,
    }

    impl Record for ServicesFile {
        const KNOWN: u32 = 1;
    }

    #[derive(Serialize, Deserialize)]
    struct Table {
        ports: Vec<NamedPort>,
    }

    #[derive(Serialize, Deserialize)]
    struct NamedPort {
        /// `namespace/name:port`.
        name: String,
        addresses: Vec<IpAddr>,
        protocol: Protocol,
        port: u16,
        node_port: Option<u16>,
        client_affinity: bool,
        external_local: bool,
        internal_local: bool,
        endpoints: Vec<NamedEndpoint>,
    }

    #[derive(Serialize, Deserialize)]
    struct NamedEndpoint {
        address: IpAddr,
        port: u16,
        local: bool,
    }

    /// The ports; none if there is no table that can be read.
    pub(super) fn read(root: &Path) -> BTreeMap<ServiceKey, ServicePort> {
        let file = base::record::read::<ServicesFile>(&root.join("services.json"));
        let ports = file.map(|file| file.services.ports).unwrap_or_default();
        ports.into_iter().filter_map(|port| Some((key(&port.name)?, port.into()))).collect()
    }

    /// Removes the table; one that stays is not read beside a log.
    pub(super) fn remove(root: &Path) {
        let path = root.join("services.json");
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "an old table of services cannot be removed");
            }
            _ => {}
        }
    }

    fn key(name: &str) -> Option<ServiceKey> {
        let (service, port) = name.split_once(':')?;
        let (namespace, service) = service.split_once('/')?;
        Some(ServiceKey { service: ServiceName::new(namespace, service), port: port.to_owned() })
    }

    impl From<NamedPort> for ServicePort {
        fn from(named: NamedPort) -> Self {
            let endpoint =
                |of: NamedEndpoint| ServiceEndpoint { address: of.address, port: of.port, local: of.local };
            Self {
                addresses: named.addresses,
                external_addresses: Vec::new(),
                protocol: named.protocol.into(),
                port: named.port,
                node_port: named.node_port,
                client_affinity: named.client_affinity.then_some(affinity::USUAL),
                external_local: named.external_local,
                internal_local: named.internal_local,
                endpoints: named.endpoints.into_iter().map(endpoint).collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! What is kept on disk: networks for ever, endpoints and services until the machine restarts.
//!
//! ```text
//! networks.json         flushed to disk before a network exists
//! endpoints/<id>.json   one per endpoint, so that a start costs one small file
//! forwarding.json       between which links nothing is passed on, until the machine restarts
//! services.log          what became of services, so that they work before anybody tells them again
//! ```
//!
//! What cannot be understood is left alone and told ([`StateDir::troubles`]): a network that a later
//! version of this program wrote stays in the file, a damaged file is set aside. While there is such a
//! network or endpoint nothing is removed from the kernel because nobody remembers it.
//!
//! What is in the files has types of its own (a module each), which lead to what this crate works with and
//! back.

mod endpoint;
mod network;
mod services;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::record::Record;
use base::{RecordError, Trouble};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::endpoint::EndpointFile;
pub(crate) use self::services::ServicesLog;
use crate::network::Strangers;
use crate::services::{ServiceKey, ServicePort};
use crate::{Endpoint, NetworkView};

/// The directory that this crate alone writes to.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    left: Arc<Mutex<Left>>,
}

/// What was read and not understood.
#[derive(Debug, Default)]
struct Left {
    /// Networks, written back as they were found.
    networks: Vec<serde_json::Value>,
    /// Of networks and endpoints: what is not known of them may be theirs.
    troubles: Vec<Trouble>,
    /// Of anything else.
    others: Vec<Trouble>,
}

/// Which file could not be read or written.
#[derive(Debug)]
pub(crate) struct StateError {
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// What went wrong.
    pub(crate) source: io::Error,
}

/// The endpoints that are kept.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    /// Those that can be read.
    pub(crate) known: Vec<Endpoint>,
    /// Those that cannot.
    pub(crate) unknown: Vec<UnknownEndpoint>,
}

/// An endpoint that cannot be read.
#[derive(Debug)]
pub(crate) struct UnknownEndpoint {
    /// Its id.
    pub(crate) id: String,
    /// What its record seems to say of its addresses.
    pub(crate) addresses: Vec<IpAddr>,
}

/// `networks.json`.
#[derive(Serialize, Deserialize)]
struct NetworksFile {
    /// Each a [`network::Network`], if it is understood.
    networks: Vec<serde_json::Value>,
}

impl Record for NetworksFile {
    /// In 1 a network had one subnet. Each entry tells by itself which form it has.
    const KNOWN: u32 = 2;
}

/// `forwarding.json`: written before this instance has the kernel pass packets on.
#[derive(Serialize, Deserialize)]
struct ForwardingFile {
    /// The boot of the machine that it was in.
    boot: String,
    /// The links that there were and from which nothing was passed on.
    links: Vec<String>,
    /// All links that there were; `links` where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    all: Option<Vec<String>>,
}

impl Record for ForwardingFile {
    const KNOWN: u32 = 1;
}

impl StateDir {
    /// Opens the directory, made if there is none.
    pub(crate) fn open(root: &Path) -> Result<Self, StateError> {
        let endpoints = root.join("endpoints");
        fs::create_dir_all(&endpoints).map_err(|source| StateError { path: endpoints, source })?;
        Ok(Self { root: root.to_owned(), left: Arc::default() })
    }

    /// What could not be understood of what was read.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let left = self.left.lock();
        left.troubles.iter().chain(&left.others).cloned().collect()
    }

    /// Whether all networks and endpoints that were read could be understood: then whatever is in the
    /// kernel and belongs to none of them is left over.
    pub(crate) fn knows_all(&self) -> bool {
        self.left.lock().troubles.is_empty()
    }

    /// The networks; none if they were never written. Refuses a file of a later version and one that
    /// the disk does not give: going on without it would write over it.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkView>, StateError> {
        let path = self.networks_path();
        let mut left = self.left.lock();
        let entries = match base::record::read::<NetworksFile>(&path) {
            Ok(file) => file.networks,
            Err(RecordError::Missing) => Vec::new(),
            Err(RecordError::Io(source)) => return Err(StateError { path, source }),
            Err(error @ RecordError::Newer { .. }) => {
                let message = base::error::chain(&error).to_string();
                return Err(StateError { path, source: io::Error::new(io::ErrorKind::InvalidData, message) });
            }
            Err(error @ RecordError::Damaged(_)) => {
                let random = base::Random::next_u64(&base::SystemRandom);
                let aside = path.with_file_name(format!("{DAMAGED}{random:016x}"));
                fs::rename(&path, &aside).map_err(|source| StateError { path: path.clone(), source })?;
                left.troubles.push(Trouble::new("the list of networks", &aside, &error));
                Vec::new()
            }
        };
        left.troubles.extend(damaged_lists(&self.root));
        let (known, unknown) = understand(entries, &path, &mut left.troubles);
        left.networks = unknown;
        Ok(known)
    }

    /// Writes the networks, on disk when this returns. Nothing is written where nothing changed: a
    /// daemon must start on a full disk, if only to free some of it.
    pub(crate) fn networks_write<'a>(
        &self,
        networks: impl Iterator<Item = &'a NetworkView>,
    ) -> Result<(), StateError> {
        let path = self.networks_path();
        let networks: Vec<NetworkView> = networks.cloned().collect();
        let unknown = self.left.lock().networks.clone();
        let written = base::record::read::<NetworksFile>(&path);
        let says = |file: NetworksFile| understand(file.networks, &path, &mut Vec::new());
        if written.is_ok_and(|file| says(file) == (networks.clone(), unknown.clone())) {
            return Ok(());
        }
        let known = networks.into_iter().map(|network| {
            serde_json::to_value(network::Network::from(network)).expect("it has no odd keys")
        });
        let bytes = encode(&NetworksFile { networks: known.chain(unknown).collect() });
        base::fs::write_atomic(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// The endpoints. An empty file is one that was written when the machine lost power, and its
    /// endpoint went with the machine; another that makes no sense is left alone.
    pub(crate) fn endpoints(&self) -> Endpoints {
        let directory = self.root.join("endpoints");
        let (known, torn, troubles) = read_endpoints(&directory);
        let unknown = troubles.iter().filter_map(|trouble| unknown_endpoint(&trouble.path)).collect();
        self.left.lock().troubles.extend(troubles);
        for path in torn {
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "an empty endpoint cannot be removed");
            }
        }
        Endpoints { known, unknown }
    }

    /// Writes an endpoint; not flushed, since it does not outlive the machine.
    pub(crate) fn endpoint_write(&self, endpoint: &Endpoint) -> Result<(), StateError> {
        let path = self.endpoint_path(&endpoint.id);
        let bytes = encode(&EndpointFile { endpoint: endpoint.clone().into() });
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// Forgets an endpoint; nothing happens if it is not there.
    pub(crate) fn endpoint_remove(&self, id: &str) -> Result<(), StateError> {
        remove(self.endpoint_path(id))
    }

    /// The ports of services as they were last, and the log of what becomes of them.
    pub(crate) fn services(&self) -> (BTreeMap<ServiceKey, ServicePort>, ServicesLog) {
        let (ports, log, trouble) = ServicesLog::read(&self.root);
        self.left.lock().others.extend(trouble);
        (ports, log)
    }

    /// The links that there were before the host passed packets on: nobody, if nothing was written about
    /// it since its boot. None if what was written cannot be read.
    pub(crate) fn strangers(&self, boot: &str) -> Option<Strangers> {
        let path = self.forwarding_path();
        match base::record::read::<ForwardingFile>(&path) {
            Ok(ForwardingFile { boot: then, links, all }) if then == boot => {
                Some(Strangers { all: all.unwrap_or_else(|| links.clone()), barred: links, guessed: false })
            }
            Ok(_) | Err(RecordError::Missing) => Some(Strangers::default()),
            // It was written when the machine lost power, which began another boot.
            Err(RecordError::Damaged(_)) if is_empty(&path) => Some(Strangers::default()),
            Err(error) => {
                self.left.lock().others.push(forwarding_trouble(&path, &error));
                None
            }
        }
    }

    /// Writes them; not flushed, since it does not outlive the machine's boot.
    pub(crate) fn strangers_write(&self, boot: &str, strangers: &Strangers) -> Result<(), StateError> {
        let path = self.forwarding_path();
        let Strangers { all, barred, guessed: _ } = strangers.clone();
        let bytes = encode(&ForwardingFile { boot: boot.to_owned(), links: barred, all: Some(all) });
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> Result<(), StateError> {
        remove(self.networks_path())?;
        services::clear(&self.root)?;
        remove(self.forwarding_path())?;
        let path = self.root.join("endpoints");
        fs::remove_dir_all(&path).map_err(|source| StateError { path, source })
    }

    fn forwarding_path(&self) -> PathBuf {
        self.root.join("forwarding.json")
    }

    fn networks_path(&self) -> PathBuf {
        self.root.join("networks.json")
    }

    fn endpoint_path(&self, id: &str) -> PathBuf {
        self.root.join("endpoints").join(format!("{id}.json"))
    }
}

/// How a list of networks is called that was damaged.
const DAMAGED: &str = "networks.json.damaged-";

/// What could not be understood if the networks kept in `root` were opened now. Changes nothing.
pub(crate) fn examine(root: &Path) -> Vec<Trouble> {
    let path = root.join("networks.json");
    let mut troubles = damaged_lists(root);
    match base::record::read::<NetworksFile>(&path) {
        Ok(file) => drop(understand(file.networks, &path, &mut troubles)),
        Err(RecordError::Missing) => {}
        Err(error) => troubles.push(Trouble::new("the list of networks", &path, &error)),
    }
    troubles.extend(read_endpoints(&root.join("endpoints")).2);
    troubles.extend(services::examine(root));
    let path = root.join("forwarding.json");
    match base::record::read::<ForwardingFile>(&path) {
        Ok(_) | Err(RecordError::Missing) => {}
        Err(RecordError::Damaged(_)) if is_empty(&path) => {}
        Err(error) => troubles.push(forwarding_trouble(&path, &error)),
    }
    troubles
}

fn forwarding_trouble(path: &Path, error: &RecordError) -> Trouble {
    let error = base::error::chain(error);
    let problem = format!(
        "{error}; nothing is passed on between the links that there are: remove it if the host is a router"
    );
    Trouble::saying("which links nothing is passed on from", path, problem)
}

/// Whether a file is one that a machine left which lost its power.
fn is_empty(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0)
}

/// Earlier lists that were damaged and set aside.
fn damaged_lists(root: &Path) -> Vec<Trouble> {
    let is_one = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(DAMAGED.as_bytes()))
    };
    let paths = base::fs::entries(root).unwrap_or_default().into_iter().filter(is_one);
    let told = |path: PathBuf| {
        let problem = "it was damaged and networks may be in it; remove it when they are not missed";
        Trouble::saying("an earlier list of networks", &path, problem)
    };
    paths.map(told).collect()
}

/// Parts networks that are understood from others.
fn understand(
    entries: Vec<serde_json::Value>,
    path: &Path,
    troubles: &mut Vec<Trouble>,
) -> (Vec<NetworkView>, Vec<serde_json::Value>) {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for entry in entries {
        match network::Network::read(&entry) {
            Ok(network) => known.push(network.into()),
            Err(error) => {
                let name = entry.get("name").and_then(serde_json::Value::as_str).unwrap_or("without a name");
                troubles.push(Trouble::new(format!("network {name}"), path, &error));
                unknown.push(entry);
            }
        }
    }
    (known, unknown)
}

/// The endpoints in a directory, the empty files among them, and what makes no sense.
fn read_endpoints(directory: &Path) -> (Vec<Endpoint>, Vec<PathBuf>, Vec<Trouble>) {
    let (mut endpoints, mut torn, mut troubles) = (BTreeMap::new(), Vec::new(), Vec::new());
    let paths = base::fs::entries(directory).unwrap_or_else(|error| {
        troubles.push(Trouble::new("every endpoint", directory, &error));
        Vec::new()
    });
    for path in paths {
        match base::record::read::<EndpointFile>(&path) {
            Ok(file) => {
                let endpoint = Endpoint::from(file.endpoint);
                endpoints.insert(endpoint.id.clone(), endpoint);
            }
            Err(RecordError::Missing) => {}
            Err(_) if is_empty(&path) => torn.push(path),
            Err(error) => troubles.push(Trouble::new("an endpoint of a network", &path, &error)),
        }
    }
    (endpoints.into_values().collect(), torn, troubles)
}

/// What is known of the endpoint of a record that cannot be read.
fn unknown_endpoint(path: &Path) -> Option<UnknownEndpoint> {
    let id = path.file_name()?.to_str()?.strip_suffix(".json")?.to_owned();
    let document = base::record::read_plain(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let document: serde_json::Value = document.unwrap_or_default();
    // In whichever version: each address with the length of its prefix, or the only one without.
    let endpoint = &document["endpoint"];
    let each = endpoint["addresses"].as_array().into_iter().flatten().map(|address| &address["net"]);
    let texts = each.chain([&endpoint["address"]]).filter_map(serde_json::Value::as_str);
    let bare = |text: &str| text.split('/').next().and_then(|text| text.parse().ok());
    Some(UnknownEndpoint { id, addresses: texts.filter_map(bare).collect() })
}

fn encode<T: Record>(record: &T) -> Vec<u8> {
    base::record::encode(record).expect("these types have no map with odd keys")
}

fn remove(path: PathBuf) -> Result<(), StateError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StateError { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_endpoint_is_forgotten_and_another_that_makes_no_sense_is_left_alone() {
        let root = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open(root.path()).expect("open");
        let endpoint = |name: &str| root.path().join("endpoints").join(name);
        fs::write(endpoint("torn.json"), b"").expect("write");
        fs::write(endpoint("later.json"), b"{\"version\":99,\"endpoint\":1}").expect("write");
        fs::write(endpoint("cut.json"), b"{\"vers").expect("write");
        fs::write(
            endpoint("told.json"),
            br#"{"version":99,"endpoint":{"addresses":[{"net":"172.17.0.9/16"},7],"address":"10.0.0.2"}}"#,
        )
        .expect("write");
        let endpoints = state.endpoints();
        assert!(endpoints.known.is_empty());
        let told: Vec<_> = endpoints.unknown.iter().map(|one| (&*one.id, one.addresses.len())).collect();
        assert_eq!(told, [("cut", 0), ("later", 0), ("told", 2)]);
        fs::remove_file(endpoint("told.json")).expect("remove");
        let state = StateDir::open(root.path()).expect("open");
        state.endpoints();
        assert!(!endpoint("torn.json").exists());
        assert!(endpoint("later.json").exists() && endpoint("cut.json").exists());
        let told: Vec<PathBuf> = state.troubles().into_iter().map(|trouble| trouble.path).collect();
        assert_eq!(told, [endpoint("cut.json"), endpoint("later.json")]);
        assert_eq!(examine(root.path()).len(), 2);
    }

    #[test]
    fn a_list_of_a_later_version_is_refused_and_a_damaged_one_set_aside() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("networks.json");
        let state = StateDir::open(root.path()).expect("open");
        assert!(state.networks().expect("none yet").is_empty());
        fs::write(&path, b"{\"version\":9,\"networks\":[]}").expect("write");
        assert!(state.networks().expect_err("a later version").source.to_string().contains("version 9"));
        assert!(path.exists());
        fs::write(&path, b"").expect("write");
        assert!(state.networks().expect("the daemon starts all the same").is_empty());
        assert!(!path.exists());
        assert_eq!(state.troubles().len(), 2, "{:?}", state.troubles());
        assert_eq!(examine(root.path()).len(), 1);
    }

    #[test]
    fn a_network_that_is_not_understood_stays_in_the_list() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("networks.json");
        let state = StateDir::open(root.path()).expect("open");
        fs::write(&path, br#"{"version":1,"networks":[{"name":"odd","kind":"Moebius"}]}"#).expect("write");
        assert!(state.networks().expect("read").is_empty());
        assert!(state.troubles()[0].subject.contains("odd"));
        state.networks_write(std::iter::empty()).expect("write");
        assert!(fs::read_to_string(&path).expect("read back").contains("Moebius"));
    }

    #[test]
    fn a_list_of_before_is_written_when_something_changes_and_not_earlier() {
        let root = tempfile::tempdir().expect("temporary directory");
        let path = root.path().join("networks.json");
        let first = serde_json::json!({"version": 1, "networks": [{
            "id": "a".repeat(64), "name": "front", "kind": "user", "created": "2026-11-28T09:59:59.5Z",
            "subnet": "10.97.3.0/24", "range": null, "gateway": "10.97.3.1", "reserved": {}, "internal": false,
            "mtu": null, "isolate_endpoints": false, "no_masquerade": false, "bridge": "br-front",
            "host_address": null, "options": {}, "labels": {},
        }, {"name": "odd", "kind": "Moebius"}]});
        fs::write(&path, first.to_string()).expect("write");
        let state = StateDir::open(root.path()).expect("open");
        let mut networks = state.networks().expect("read");
        assert_eq!(networks.len(), 1);
        state.networks_write(networks.iter()).expect("nothing to write");
        assert_eq!(fs::read_to_string(&path).expect("read back"), first.to_string());
        networks[0].internal = true;
        state.networks_write(networks.iter()).expect("write");
        let state = StateDir::open(root.path()).expect("open");
        assert_eq!(state.networks().expect("read again"), networks);
        let written = fs::read_to_string(&path).expect("read back");
        assert!(written.contains("\"version\":2") && written.contains("Moebius"), "{written}");
    }
}

//! What is kept on disk: networks for ever, endpoints and services until the machine restarts.
//!
//! ```text
//! networks.json         flushed to disk before a network exists
//! endpoints/<id>.json   one per endpoint, so that a start costs one small file
//! services.json         the last service table, so that services work while the daemon is away
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Endpoint, NetworkView, ServiceTable};

const VERSION: u32 = 1;

/// The directory that this crate alone writes to.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
}

/// Which file could not be read or written.
#[derive(Debug)]
pub(crate) struct StateError {
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// What went wrong.
    pub(crate) source: io::Error,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    content: T,
}

#[derive(Serialize, Deserialize)]
struct Networks {
    networks: Vec<NetworkView>,
}

#[derive(Serialize, Deserialize)]
struct EndpointFile {
    endpoint: Endpoint,
}

#[derive(Serialize, Deserialize)]
struct Services {
    services: ServiceTable,
}

impl StateDir {
    /// Opens the directory, made if there is none.
    pub(crate) fn open(root: &Path) -> Result<Self, StateError> {
        let endpoints = root.join("endpoints");
        fs::create_dir_all(&endpoints).map_err(|source| StateError { path: endpoints, source })?;
        Ok(Self { root: root.to_owned() })
    }

    /// The networks; none if they were never written.
    pub(crate) fn networks(&self) -> Result<Vec<NetworkView>, StateError> {
        Ok(read::<Networks>(&self.networks_path())?.map_or_else(Vec::new, |file| file.networks))
    }

    /// Writes the networks, on disk when this returns. Nothing is written where nothing changed: a
    /// daemon must start on a full disk, if only to free some of it.
    pub(crate) fn networks_write<'a>(
        &self,
        networks: impl Iterator<Item = &'a NetworkView>,
    ) -> Result<(), StateError> {
        let path = self.networks_path();
        let bytes = encode(Networks { networks: networks.cloned().collect() });
        if fs::read(&path).is_ok_and(|written| written == bytes) {
            return Ok(());
        }
        base::fs::write_atomic(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// The endpoints; a file that makes no sense (the machine went down while it was written) is
    /// removed, since its endpoint went down with the machine.
    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>, StateError> {
        let directory = self.root.join("endpoints");
        let failed = |source| StateError { path: directory.clone(), source };
        let mut endpoints = BTreeMap::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match read::<EndpointFile>(&path) {
                Ok(Some(file)) => {
                    endpoints.insert(file.endpoint.id.clone(), file.endpoint);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(path = %path.display(), error = %error.source, "unreadable endpoint forgotten");
                    fs::remove_file(&path).map_err(|source| StateError { path, source })?;
                }
            }
        }
        Ok(endpoints.into_values().collect())
    }

    /// Writes an endpoint; not flushed, since it does not outlive the machine.
    pub(crate) fn endpoint_write(&self, endpoint: &Endpoint) -> Result<(), StateError> {
        let path = self.endpoint_path(&endpoint.id);
        let bytes = encode(EndpointFile { endpoint: endpoint.clone() });
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// Forgets an endpoint; nothing happens if it is not there.
    pub(crate) fn endpoint_remove(&self, id: &str) -> Result<(), StateError> {
        remove(self.endpoint_path(id))
    }

    /// The last service table; empty if there is none that can be read.
    pub(crate) fn services(&self) -> ServiceTable {
        let file = read::<Services>(&self.root.join("services.json"));
        file.ok().flatten().map_or_else(ServiceTable::default, |file| file.services)
    }

    /// Writes the service table; not flushed, since whoever made it makes it again.
    pub(crate) fn services_write(&self, services: &ServiceTable) -> Result<(), StateError> {
        let path = self.root.join("services.json");
        let bytes = encode(Services { services: services.clone() });
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600).map_err(|source| StateError { path, source })
    }

    /// Removes everything.
    pub(crate) fn clear(&self) -> Result<(), StateError> {
        remove(self.networks_path())?;
        remove(self.root.join("services.json"))?;
        let path = self.root.join("endpoints");
        fs::remove_dir_all(&path).map_err(|source| StateError { path, source })
    }

    fn networks_path(&self) -> PathBuf {
        self.root.join("networks.json")
    }

    fn endpoint_path(&self, id: &str) -> PathBuf {
        self.root.join("endpoints").join(format!("{id}.json"))
    }
}

fn encode<T: Serialize>(content: T) -> Vec<u8> {
    serde_json::to_vec(&Versioned { version: VERSION, content })
        .expect("these types have no map with odd keys")
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let failed = |source| StateError { path: path.to_owned(), source };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let file: Versioned<T> = serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?;
    if file.version != VERSION {
        let message = format!("version {} is not known, only {VERSION}", file.version);
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    Ok(Some(file.content))
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
    fn a_torn_endpoint_file_is_forgotten_and_an_unknown_version_is_refused() {
        let root = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::open(root.path()).expect("open");
        fs::write(root.path().join("endpoints/torn.json"), b"{\"vers").expect("write");
        assert!(state.endpoints().expect("endpoints").is_empty());
        assert!(!root.path().join("endpoints/torn.json").exists());
        assert!(state.networks().expect("none yet").is_empty());
        fs::write(root.path().join("networks.json"), b"{\"version\":9,\"networks\":[]}").expect("write");
        assert!(state.networks().expect_err("unknown version").source.to_string().contains("version 9"));
    }
}

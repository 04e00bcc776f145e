//! What addresses gave: a server that says that there is still the same is not asked for it again.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use base::record::Record;
use oci::Digest;
use serde::{Deserialize, Serialize};

/// So many addresses are remembered: then those that were longest ago are forgotten.
const ADDRESSES_MAX: usize = 4096;

/// What an address gave: `http/<digest>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Given {
    /// Of its content.
    pub(super) digest: String,
    /// What the file is called.
    pub(super) name: String,
    /// When it was changed, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<i64>,
    /// The server's name of its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    /// It was given to somebody whom the server knows.
    #[serde(default)]
    pub(super) authorized: bool,
}

impl Record for Given {
    const KNOWN: u32 = 1;
}

/// All that is remembered. Losing any of it costs fetching it once more.
#[derive(Debug)]
pub(crate) struct Known {
    root: PathBuf,
    count: AtomicUsize,
}

impl Known {
    pub(crate) fn open(root: &Path) -> Self {
        let root = root.join("http");
        if let Err(error) = crate::solve::attach::make(&root) {
            tracing::error!(path = %root.display(), %error, "what addresses gave cannot be remembered");
        }
        let count = base::fs::entries(&root).map(|entries| entries.len()).unwrap_or_default();
        Self { root, count: AtomicUsize::new(count) }
    }

    pub(super) fn get(&self, address: &Digest) -> Option<Given> {
        offload::in_place(|| base::record::read(&self.place(address)).ok())
    }

    pub(super) fn put(&self, address: &Digest, given: &Given) {
        let put = || -> std::io::Result<()> {
            let bytes = base::record::encode(given).map_err(std::io::Error::other)?;
            let place = self.place(address);
            if !place.exists() && self.count.fetch_add(1, Ordering::Relaxed) >= ADDRESSES_MAX {
                self.forget()?;
            }
            base::fs::write_atomic_unsynced(&place, &bytes, 0o600)
        };
        if let Err(error) = offload::in_place(put) {
            tracing::warn!(%error, "what an address gave is not remembered");
        }
    }

    fn place(&self, address: &Digest) -> PathBuf {
        self.root.join(format!("{}.json", address.hex()))
    }

    /// Forgets the older half.
    fn forget(&self) -> std::io::Result<()> {
        let mut all: Vec<(SystemTime, PathBuf)> = Vec::new();
        for path in base::fs::entries(&self.root)? {
            let written = std::fs::symlink_metadata(&path).and_then(|file| file.modified());
            all.push((written.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
        all.sort();
        let forgotten = all.len() / 2;
        for (_, path) in &all[..forgotten] {
            std::fs::remove_file(path)?;
        }
        self.count.store(all.len() - forgotten + 1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_the_same_later_and_has_an_end() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = |at: usize| Digest::sha256_of(&at.to_le_bytes());
        let given = Given {
            digest: address(0).to_string(),
            name: "file".to_owned(),
            modified: Some(7),
            tag: Some("\"x\"".to_owned()),
            authorized: false,
        };
        Known::open(directory.path()).put(&address(0), &given);
        let known = Known::open(directory.path());
        assert_eq!(known.get(&address(0)), Some(given.clone()));
        assert_eq!(known.get(&address(1)), None);
        for at in 0..2 * ADDRESSES_MAX {
            known.put(&address(at), &given);
        }
        let kept = base::fs::entries(&directory.path().join("http")).expect("a list").len();
        assert!((ADDRESSES_MAX / 2..=ADDRESSES_MAX).contains(&kept), "{kept}");
        assert!(known.get(&address(2 * ADDRESSES_MAX - 1)).is_some(), "the newest is there");
    }
}

//! Directories that commands find again: cache mounts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use base::record::Record;
use oci::Digest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::usage::{UsageKind, UsageRecord};
use super::{SolveError, attach, now};

/// Who may use a directory at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sharing {
    /// All.
    Shared,
    /// One; others get a directory of their own.
    Private,
    /// One; others wait.
    Locked,
}

/// All directories.
pub(crate) struct Caches {
    root: PathBuf,
    known: Mutex<HashMap<String, Known>>,
    /// Somebody does not use one any more.
    given_up: Notify,
}

struct Known {
    record: CacheRecord,
    users: usize,
    /// Who uses it wants to be the only one.
    exclusive: bool,
}

/// `cache/<name>/record.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct CacheRecord {
    description: String,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_used: Option<Timestamp>,
    #[serde(default)]
    uses: u64,
    /// What it begins with is in it.
    #[serde(default)]
    filled: bool,
}

impl Record for CacheRecord {
    const KNOWN: u32 = 1;
}

/// A directory that is used; given up when this is dropped.
pub(crate) struct CacheUse {
    solver: super::Solver,
    name: String,
    sharing: Sharing,
    /// What it is to begin with is not in it yet: nobody else has it until [`CacheUse::filled`].
    pub(crate) is_new: bool,
}

impl Caches {
    /// What there is. A directory without a record was being made: it goes.
    pub(crate) fn open(root: &Path) -> Self {
        let root = root.join("cache");
        if let Err(error) = attach::make(&root) {
            tracing::error!(path = %root.display(), %error, "cache mounts cannot be kept");
        }
        let mut known = HashMap::new();
        for path in base::fs::entries(&root).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match base::record::read::<CacheRecord>(&path.join("record.json")) {
                Ok(record) => drop(known.insert(name, Known { record, users: 0, exclusive: false })),
                Err(base::RecordError::Newer { .. }) => {}
                Err(_) => {
                    if let Err(error) = base::tree::remove(&path) {
                        tracing::warn!(path = %path.display(), %error, "a cache mount stays");
                    }
                }
            }
        }
        Self { root, known: Mutex::new(known), given_up: Notify::new() }
    }

    pub(crate) fn list(&self) -> Vec<UsageRecord> {
        let known = self.known.lock();
        let view = |(name, known): (&String, &Known)| UsageRecord {
            id: name.clone(),
            parents: Vec::new(),
            description: known.record.description.clone(),
            kind: UsageKind::CacheMount,
            size: 0,
            created: known.record.created,
            last_used: known.record.last_used,
            uses: known.record.uses,
            in_use: known.users > 0,
            shared: false,
            mutable: true,
        };
        let mut records: Vec<UsageRecord> = known.iter().map(view).collect();
        drop(known);
        // Measured when somebody asks, not by each command: there may be very many files.
        for record in &mut records {
            let path = self.root.join(&record.id).join("fs");
            record.size = base::tree::size(&path).map(|size| size.files).unwrap_or_default();
        }
        records
    }

    /// Removes one that nobody uses; false if somebody does.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<bool> {
        {
            let mut known = self.known.lock();
            match known.get_mut(name) {
                Some(one) if one.users == 0 => (one.users, one.exclusive) = (1, true),
                _ => return Ok(false),
            }
        }
        let removed = base::tree::remove(&self.root.join(name));
        let mut known = self.known.lock();
        match &removed {
            Ok(()) => drop(known.remove(name)),
            Err(_) => {
                if let Some(one) = known.get_mut(name) {
                    (one.users, one.exclusive) = (0, false);
                }
            }
        }
        drop(known);
        self.given_up.notify_waiters();
        removed.map(|()| true)
    }

    /// Removes all directories of the cache `id` that nobody uses.
    pub(crate) fn begin_anew(&self, id: &str) -> std::io::Result<()> {
        let base = base_name(id);
        let is_of = |name: &&String| {
            name.strip_prefix(&base).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let names: Vec<String> = self.known.lock().keys().filter(is_of).cloned().collect();
        names.iter().try_for_each(|name| self.remove(name).map(drop))
    }

    /// Takes the directory of the cache `id` into use, when that is possible.
    pub(crate) async fn take(
        solver: &super::Solver,
        id: &str,
        description: &str,
        sharing: Sharing,
    ) -> Result<Arc<CacheUse>, SolveError> {
        let caches = &solver.inner.caches;
        let base = base_name(id);
        loop {
            let given_up = caches.given_up.notified();
            tokio::pin!(given_up);
            given_up.as_mut().enable();
            if let Some((name, is_new)) = caches.try_take(&base, description, sharing) {
                let taken = CacheUse { solver: solver.clone(), name, sharing, is_new };
                offload::in_place(|| taken.begin())?;
                return Ok(Arc::new(taken));
            }
            given_up.await;
        }
    }

    fn try_take(&self, base: &str, description: &str, sharing: Sharing) -> Option<(String, bool)> {
        let mut known = self.known.lock();
        let mut at = 0;
        loop {
            let name = if at == 0 { base.to_owned() } else { format!("{base}-{at}") };
            let one = known.entry(name.clone()).or_insert_with(|| Known {
                record: CacheRecord {
                    description: description.to_owned(),
                    created: now(),
                    last_used: None,
                    uses: 0,
                    filled: false,
                },
                users: 0,
                exclusive: false,
            });
            let is_new = !one.record.filled;
            let is_free = match sharing {
                Sharing::Shared if !is_new => !one.exclusive,
                _ => one.users == 0,
            };
            if is_free {
                one.users += 1;
                one.exclusive = is_new || sharing != Sharing::Shared;
                one.record.last_used = Some(now());
                one.record.uses += 1;
                return Some((name, is_new));
            }
            if sharing != Sharing::Private {
                return None;
            }
            at += 1;
        }
    }
}

/// What directories of the cache `id` are called.
fn base_name(id: &str) -> String {
    Digest::sha256_of(id.as_bytes()).hex()[..25].to_owned()
}

impl CacheUse {
    /// Where its files are.
    pub(crate) fn path(&self) -> PathBuf {
        self.solver.inner.caches.root.join(&self.name).join("fs")
    }

    fn begin(&self) -> Result<(), SolveError> {
        let make = || -> std::io::Result<()> {
            // Who was to fill it has not come to the end of that.
            if self.is_new && self.path().exists() {
                base::tree::remove(&self.path())?;
            }
            attach::make(&self.path())
        };
        make().map_err(SolveError::io("make a cache mount"))?;
        self.write()
    }

    /// What it begins with is in it: others may have it too, if it is shared.
    pub(crate) fn filled(&self) -> Result<(), SolveError> {
        let caches = &self.solver.inner.caches;
        if let Some(known) = caches.known.lock().get_mut(&self.name) {
            known.record.filled = true;
            known.exclusive = self.sharing != Sharing::Shared;
        }
        caches.given_up.notify_waiters();
        self.write()
    }

    fn write(&self) -> Result<(), SolveError> {
        let caches = &self.solver.inner.caches;
        let record = caches.known.lock().get(&self.name).map(|known| known.record.clone());
        let Some(record) = record else { return Ok(()) };
        let bytes = base::record::encode(&record).map_err(|error| SolveError::Failed(error.to_string()))?;
        let path = caches.root.join(&self.name).join("record.json");
        base::fs::write_atomic_unsynced(&path, &bytes, 0o600)
            .map_err(SolveError::io("write down a cache mount"))
    }
}

impl Drop for CacheUse {
    fn drop(&mut self) {
        offload::in_place(|| {
            let caches = &self.solver.inner.caches;
            if let Some(known) = caches.known.lock().get_mut(&self.name) {
                known.record.last_used = Some(now());
            }
            if let Err(error) = self.write() {
                tracing::warn!(name = self.name, %error, "when a cache mount was used is not written down");
            }
            if let Some(known) = caches.known.lock().get_mut(&self.name) {
                known.users -= 1;
                known.exclusive &= known.users > 0;
            }
            caches.given_up.notify_waiters();
        });
    }
}

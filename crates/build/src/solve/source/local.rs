//! A client's files.
//!
//! They are kept from one build to the next, so that what did not change is not sent again, in directories of
//! the solver's own, each for clients that send the same. One that is used is nobody else's meanwhile: who
//! comes while it is gets another.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Timestamp;
use base::record::Record;
use oci::Digest;
use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::solve::job::Job;
use crate::solve::key::Key;
use crate::solve::schedule::{Done, Step};
use crate::solve::session::{FileSelection, Transferred};
use crate::solve::value::{Chain, HeldTree, Value};
use crate::solve::{SolveError, attach, now};

/// Directories that are kept for one sort of clients.
const KEPT_MAX: usize = 16;

/// All that is kept.
pub(crate) struct Locals {
    root: PathBuf,
    known: Mutex<HashMap<String, LocalRecord>>,
    used: Mutex<HashSet<String>>,
}

/// `local/<name>/record.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LocalRecord {
    pub(crate) description: String,
    pub(crate) created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_used: Option<Timestamp>,
    #[serde(default)]
    pub(crate) uses: u64,
}

impl Record for LocalRecord {
    const KNOWN: u32 = 1;
}

/// A directory with a client's files, which nobody else has while this is held.
pub(crate) struct LocalDirectory {
    solver: super::super::Solver,
    name: String,
    chain: OnceCell<Chain>,
}

impl Locals {
    /// What there is. A directory whose record cannot be read was being made: it goes.
    pub(crate) fn open(root: &Path) -> Self {
        let root = root.join("local");
        if let Err(error) = attach::make(&root) {
            tracing::error!(path = %root.display(), %error, "clients' files cannot be kept");
        }
        let mut known = HashMap::new();
        for path in base::fs::entries(&root).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match base::record::read::<LocalRecord>(&path.join("record.json")) {
                Ok(record) => drop(known.insert(name, record)),
                Err(base::RecordError::Newer { .. }) => {}
                Err(_) => {
                    if let Err(error) = base::tree::remove(&path) {
                        tracing::warn!(path = %path.display(), %error, "a client's files stay");
                    }
                }
            }
        }
        Self { root, known: Mutex::new(known), used: Mutex::default() }
    }

    /// All directories: their names and records, how many bytes they have, and whether they are used.
    pub(crate) fn list(&self) -> Vec<(String, LocalRecord, u64, bool)> {
        let known = self.known.lock().clone();
        let used = self.used.lock().clone();
        let view = |(name, record): (String, LocalRecord)| {
            let size = base::tree::size(&self.files(&name)).map(|size| size.files).unwrap_or_default();
            let in_use = used.contains(&name);
            (name, record, size, in_use)
        };
        known.into_iter().map(view).collect()
    }

    /// Removes one that nobody uses; false if somebody does.
    pub(crate) fn remove(&self, name: &str) -> std::io::Result<bool> {
        {
            let mut used = self.used.lock();
            if !used.insert(name.to_owned()) {
                return Ok(false);
            }
        }
        let removed = base::tree::remove(&self.root.join(name));
        if removed.is_ok() {
            self.known.lock().remove(name);
        }
        self.used.lock().remove(name);
        removed.map(|()| true)
    }

    /// Takes a directory for clients of this sort. Those that have nothing in common find nothing of each
    /// other's: what is sent to one is not kept for the next.
    fn take(&self, sort: &str, is_common: bool, description: &str) -> Result<String, SolveError> {
        let mut used = self.used.lock();
        let kept = if is_common { KEPT_MAX } else { 0 };
        let free = (0..kept).map(|at| format!("{sort}-{at}")).find(|name| !used.contains(name));
        // One that nobody keeps.
        let name = free.unwrap_or_else(|| format!("{sort}-{}", attach::random()));
        let path = self.root.join(&name);
        attach::make(&path.join("fs")).map_err(SolveError::io("make a directory for the client's files"))?;
        let record = {
            let mut known = self.known.lock();
            let record = known.entry(name.clone()).or_insert_with(|| LocalRecord {
                description: description.to_owned(),
                created: now(),
                last_used: None,
                uses: 0,
            });
            record.last_used = Some(now());
            record.uses += 1;
            record.clone()
        };
        self.write(&name, &record)?;
        used.insert(name.clone());
        Ok(name)
    }

    fn write(&self, name: &str, record: &LocalRecord) -> Result<(), SolveError> {
        let bytes = base::record::encode(record).map_err(|error| SolveError::Failed(error.to_string()))?;
        base::fs::write_atomic_unsynced(&self.root.join(name).join("record.json"), &bytes, 0o600)
            .map_err(SolveError::io("write down what is kept of the client's files"))
    }

    fn files(&self, name: &str) -> PathBuf {
        self.root.join(name).join("fs")
    }
}

impl LocalDirectory {
    /// Where it is.
    pub(crate) fn path(&self) -> PathBuf {
        self.solver.inner.locals.files(&self.name)
    }

    pub(crate) fn open(&self) -> Result<OwnedFd, SolveError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        offload::in_place(|| rustix::fs::open(self.path(), flags, Mode::empty()))
            .map_err(|error| SolveError::io("open the client's files")(error.into()))
    }

    /// The same as layers.
    pub(crate) async fn chain(self: &Arc<Self>, job: &Job) -> Result<Chain, SolveError> {
        let make = || async {
            let fd = self.open()?;
            let tree = Arc::new(HeldTree::of(fd, Value::Local(Arc::clone(self)), job));
            super::super::value::layer_of(job, tree).await
        };
        self.chain.get_or_try_init(make).await.cloned()
    }
}

impl Drop for LocalDirectory {
    fn drop(&mut self) {
        let locals = &self.solver.inner.locals;
        locals.used.lock().remove(&self.name);
        let kept =
            self.name.rsplit('-').next().is_some_and(|at| at.parse::<usize>().is_ok_and(|at| at < KEPT_MAX));
        if !kept && let Err(error) = offload::in_place(|| locals.remove(&self.name)) {
            tracing::warn!(name = self.name, %error, "a client's files stay");
        }
    }
}

/// The source `local://`.
pub(crate) async fn perform(
    step: &Step<'_>,
    name: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    let list = |key: &str| -> Result<Vec<String>, SolveError> {
        let Some(text) = attributes.get(key).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
        serde_json::from_str(text)
            .map_err(|error| SolveError::Invalid(format!("{key} of the source local://{name}: {error}")))
    };
    let selection = FileSelection {
        include: list("local.includepattern")?,
        exclude: list("local.excludepatterns")?,
        follow: list("local.followpaths")?,
    };
    let own = step.job.session()?;
    let named = match attributes.get("local.session") {
        Some(id) if !id.is_empty() && id != own.id() => own.other(id).await,
        _ => None,
    };
    let session = named.as_ref().unwrap_or(own);
    let hint = attributes.get("local.sharedkeyhint").map(String::as_str).unwrap_or_default();
    let sort = sort(session.owner(), session.shared_key(), session.id(), name, hint);
    // Files of clients that have nothing in common with a later one are of no use to any.
    let in_common = !session.shared_key().is_empty();
    let solver = step.job.inner.solver.clone();
    let taken = offload::in_place(|| {
        let description = format!("local source for {name}");
        solver.inner.locals.take(&sort.hex()[..32], in_common, &description)
    })?;
    let directory = Arc::new(LocalDirectory { solver: solver.clone(), name: taken, chain: OnceCell::new() });
    let progress = step.status(&format!("transferring {name}:"));
    let told = |transferred: Transferred| progress.tell(transferred.bytes, 0, transferred.done);
    let path = directory.path();
    session.receive_files(name, &selection, &path, &told).await?;
    Ok(Done { outputs: vec![Value::Local(directory)], cached: false })
}

/// For whose files a directory is: clients choose what they say of themselves, but not whom they are.
fn sort(owner: &str, shared_key: &str, id: &str, name: &str, hint: &str) -> Digest {
    let mut key = Key::new("local");
    [owner, name, hint].iter().for_each(|part| key.add(part));
    // Without anything that clients have in common each is known by itself.
    match shared_key {
        "" => ["session", id].iter().for_each(|part| key.add(part)),
        shared => ["shared", shared].iter().for_each(|part| key.add(part)),
    }
    key.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gets_the_files_that_another_s_client_sent() {
        let own = || sort("me", "shared", "one", "context", "hint");
        assert_eq!(own(), sort("me", "shared", "two", "context", "hint"));
        let others = [
            sort("you", "shared", "one", "context", "hint"),
            sort("me", "", "shared", "context", "hint"),
            sort("me", "other", "one", "context", "hint"),
            sort("me", "shared", "one", "dockerfile", "hint"),
            sort("me", "shared", "one", "context", ""),
            sort("mecontext", "shared", "one", "", "hint"),
        ];
        assert!(others.iter().all(|other| *other != own()));
    }
}

//! The directory of a store, and the log in it as the writing thread uses it.
//!
//! The directory holds `lock` (one process at a time), `format` (the version of the layout), and
//! `journal` (the [`log`](super::log)). Its predecessor, of the format 1, is taken over ([`legacy`]).

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Random, SystemRandom};

use super::files::{Directory, Files, is_full};
use super::log::{AppendError, Cut, Limits, Log};
use super::memory::Change;
use super::record::{self, Loaded, Numbers};
use super::{OpenError, legacy};
use crate::{Error, LeaseId, Revision};

/// What the file `format` says of a store of this layout, and of the one before.
pub(crate) const FORMAT: &str = "gantry-store 2\n";
pub(crate) const FORMAT_1: &str = "gantry-store 1\n";

/// So much must be free before a disk that was full is written again.
const PROBE_BYTES: u64 = 1 << 20;

/// The log of a store; its directory is locked against other processes while it is open.
pub(crate) struct Disk {
    log: Log,
    limits: Limits,
    random: Arc<dyn Random>,
    payload: Vec<u8>,
    _lock: Option<File>,
}

/// One group of things to write.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    pub(crate) changes: &'a [Change],
    /// The revision that the group ends with.
    pub(crate) revision: Revision,
    pub(crate) numbers: Option<Numbers>,
    pub(crate) leases: &'a [(LeaseId, Option<Duration>)],
}

impl Batch<'_> {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.numbers.is_none() && self.leases.is_empty()
    }
}

impl Disk {
    /// Opens or makes the log in the directory `path`, and reads it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        let (limits, random) = (Limits::default(), Arc::new(SystemRandom));
        fs::create_dir_all(path).map_err(|source| prepare(path, source))?;
        let lock = lock(path)?;
        make_ready(path, limits, &*random)?;
        let files = Arc::new(Directory::new(&journal(path)));
        let (mut disk, loaded) = Self::over(files, random, limits)
            .map_err(|source| OpenError::Log { path: path.to_owned(), source })?;
        disk._lock = Some(lock);
        Ok((disk, loaded))
    }

    /// Opens the log in `files`, which nothing protects from other processes.
    pub(crate) fn over(
        files: Arc<dyn Files>,
        random: Arc<dyn Random>,
        limits: Limits,
    ) -> Result<(Self, Loaded), super::LogError> {
        let (log, loaded) = Log::open(files, random.clone(), limits)?;
        Ok((Self { log, limits, random, payload: Vec::new(), _lock: None }, loaded))
    }

    /// Takes space for records of `bytes` in all, besides what is kept for deletions.
    pub(crate) fn prepare(&mut self, bytes: u64) -> Result<(), Error> {
        self.log.prepare(bytes).map_err(to_error)
    }

    /// Finds out whether a disk that failed or was full takes something again.
    pub(crate) fn retry(&mut self) -> Result<(), Error> {
        self.prepare(PROBE_BYTES.min(self.limits.growth))
    }

    /// Whether deletions can be written, though perhaps nothing else.
    pub(crate) fn can_delete(&self) -> bool {
        self.log.can_write()
    }

    /// Writes a group; returns once it is on disk.
    pub(crate) fn write(&mut self, batch: &Batch<'_>) -> Result<(), Error> {
        self.payload.clear();
        for change in batch.changes {
            record::put_change(&mut self.payload, change);
        }
        if let Some(numbers) = batch.numbers {
            record::put_numbers(&mut self.payload, numbers);
        }
        for &(lease, ttl) in batch.leases {
            record::put_lease(&mut self.payload, lease, ttl);
        }
        let result = self.log.append(&self.payload, batch.revision);
        if self.payload.capacity() > 4 << 20 {
            self.payload = Vec::new();
        }
        result.map_err(|error| match error {
            AppendError::Refused(error) => to_error(error),
            AppendError::Unsettled(error) => Error::Unsettled { source: Arc::new(error) },
        })
    }

    pub(crate) fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }

    /// Begins a new segment, for a snapshot of what was before it.
    pub(crate) fn cut(&mut self) -> Result<Cut, Error> {
        self.log.cut().map_err(to_error)
    }
}

/// Where the log is.
pub(crate) fn journal(path: &Path) -> PathBuf {
    path.join("journal")
}

/// Takes the lock of a store's directory.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))
        .map_err(|source| prepare(path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(prepare(path, source)),
    }
}

/// What the file `format` says; `None` if there is none.
pub(crate) fn format(path: &Path) -> Result<Option<String>, OpenError> {
    match fs::read_to_string(path.join("format")) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(prepare(path, source)),
    }
}

/// Makes a log beside the place where it is looked for: half a log is never opened.
pub(crate) fn stage(
    path: &Path,
    limits: Limits,
    random: &dyn Random,
    contents: Option<&Loaded>,
) -> io::Result<()> {
    let staged = path.join("journal.new");
    match fs::remove_dir_all(&staged) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::create_dir(&staged)?;
    Log::create(&Directory::new(&staged), random, limits, contents)
}

/// Puts the log that was made by [`stage`] in its place, where there must be none.
pub(crate) fn place(path: &Path) -> io::Result<()> {
    fs::rename(path.join("journal.new"), journal(path))?;
    base::fs::sync_dir(path)
}

/// Writes which layout the directory has.
pub(crate) fn set_format(path: &Path) -> io::Result<()> {
    base::fs::write_atomic(&path.join("format"), FORMAT.as_bytes(), 0o600)
}

pub(crate) fn prepare(path: &Path, source: io::Error) -> OpenError {
    OpenError::Prepare { path: path.to_owned(), source }
}

/// Makes sure that the directory holds a log of this format.
fn make_ready(path: &Path, limits: Limits, random: &dyn Random) -> Result<(), OpenError> {
    let has_journal = journal(path).exists();
    let refuse =
        |found: &str| Err(OpenError::Format { path: path.to_owned(), found: found.trim().to_owned() });
    match format(path)?.as_deref() {
        Some(FORMAT) if has_journal => legacy::set_aside(path).map_err(|source| prepare(path, source)),
        Some(FORMAT) => Err(OpenError::Missing { path: journal(path) }),
        Some(FORMAT_1) => legacy::take_over(path, limits, random),
        Some(found) => refuse(found),
        None if path.join(legacy::LOG).exists() => refuse("no format"),
        // Its making was cut off after all but the last step.
        None if has_journal => set_format(path).map_err(|source| prepare(path, source)),
        None => stage(path, limits, random, None)
            .and_then(|()| place(path))
            .and_then(|()| set_format(path))
            .map_err(|source| prepare(path, source)),
    }
}

/// Tells a full disk from one that fails.
fn to_error(error: io::Error) -> Error {
    if is_full(&error) {
        Error::DiskFull { source: Arc::new(error) }
    } else {
        Error::Disk { source: Arc::new(error) }
    }
}

//! The durable log: what a store needs to be itself again after a crash.
//!
//! One fjall keyspace, whose keys begin with a letter: `r` and a [`RecordId`] for a change, `m`
//! and a name for a number, `l` and an id for a lease. One batch is one group of transactions,
//! flushed with one `fdatasync`. Nothing is read from here but when the store is opened.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::OpenError;
use super::memory::{Change, RecordId};
use super::record;
use crate::{Error, LeaseId, Revision};

/// What the file `format` says of a store of this layout.
const FORMAT: &str = "gantry-store 1\n";
/// Values are in memory already: what fjall holds besides is only on its way to disk.
const MEMTABLE_BYTES: u64 = 4 << 20;
const CACHE_BYTES: u64 = 1 << 20;
const JOURNAL_BYTES: u64 = 64 << 20;

/// So much must be free before a disk that was full is written again.
const PROBE_BYTES: usize = 1 << 20;

const RECORD: u8 = b'r';
const NUMBER: u8 = b'm';
const LEASE: u8 = b'l';

/// The log in one directory, which is locked against other processes while it is open.
pub(crate) struct Disk {
    path: PathBuf,
    /// Absent after a failure, until the log could be opened again.
    open: Option<Open>,
    _lock: File,
}

struct Open {
    database: Database,
    log: Keyspace,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// All changes in the log, in order.
    pub(crate) changes: Vec<Change>,
    pub(crate) numbers: Numbers,
    /// The leases with their time to live.
    pub(crate) leases: Vec<(LeaseId, Duration)>,
}

/// The numbers that are kept beside the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Reads from before this revision fail.
    pub(crate) compacted: Revision,
    /// No revision up to this one may be given again, whether or not it is in the log: changes
    /// that are kept in memory only have revisions too.
    pub(crate) ceiling: Revision,
    /// The last lease that was granted.
    pub(crate) last_lease: u64,
}

/// One group of things to write.
#[derive(Debug, Default)]
pub(crate) struct Batch<'a> {
    pub(crate) changes: &'a [Change],
    pub(crate) numbers: Option<Numbers>,
    pub(crate) leases: Vec<(LeaseId, Option<Duration>)>,
    pub(crate) unneeded: Vec<RecordId>,
}

impl Batch<'_> {
    /// Whether there is nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.iter().all(|change| change.record.is_none())
            && self.numbers.is_none()
            && self.leases.is_empty()
            && self.unneeded.is_empty()
    }
}

impl Disk {
    /// Opens or makes the log in the directory `path`, and reads it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Loaded), OpenError> {
        let prepare = |source| OpenError::Prepare { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(prepare)?;
        let lock = lock(path)?;
        check_format(path)?;
        let staged = path.join("log.new");
        if !path.join("log").exists() {
            // Made beside and renamed: half a database is never opened.
            if staged.exists() {
                fs::remove_dir_all(&staged).map_err(prepare)?;
            }
            drop(
                open_database(&staged)
                    .map_err(|source| OpenError::Database { path: path.to_owned(), source })?,
            );
            fs::rename(&staged, path.join("log")).map_err(prepare)?;
            base::fs::sync_dir(path).map_err(prepare)?;
        }
        let open = open_database(&path.join("log"))
            .map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        let loaded = load(path, &open.log)?;
        Ok((Self { path: path.to_owned(), open: Some(open), _lock: lock }, loaded))
    }

    /// Writes a group and, if `sync`, returns once it is on disk.
    ///
    /// After a failure it is unknown what of the group is in the log: call [`Disk::reopen`].
    pub(crate) fn write(&mut self, batch: &Batch<'_>, sync: bool) -> Result<(), Error> {
        let Some(Open { database, log }) = &self.open else {
            return Err(to_error(fjall::Error::Poisoned));
        };
        let mut write = database.batch().durability(sync.then_some(PersistMode::SyncData));
        for change in batch.changes {
            if let Some(id) = change.record {
                write.insert(log, record_key(id), record::encode(&change.event));
            }
        }
        if let Some(Numbers { compacted, ceiling, last_lease }) = batch.numbers {
            for (name, number) in [("compacted", compacted), ("ceiling", ceiling), ("last_lease", last_lease)]
            {
                write.insert(log, [&[NUMBER], name.as_bytes()].concat(), number.to_be_bytes());
            }
        }
        for &(LeaseId(lease), ttl) in &batch.leases {
            let key = lease_key(lease);
            match ttl {
                Some(ttl) => {
                    write.insert(log, key, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).to_be_bytes())
                }
                None => write.remove(log, key),
            }
        }
        for &id in &batch.unneeded {
            write.remove(log, record_key(id));
        }
        write.commit().map_err(to_error)
    }

    /// Opens the log anew after a failure and takes out what lies after `revision`: it was never
    /// acknowledged, and its revisions will be given again.
    pub(crate) fn reopen(&mut self, revision: Revision) -> Result<(), Error> {
        // Before it is opened again the old one has to be closed: it holds the journal.
        self.open = None;
        probe(&self.path).map_err(|source| to_error(source.into()))?;
        let open = open_database(&self.path.join("log")).map_err(to_error)?;
        let mut write = open.database.batch().durability(Some(PersistMode::SyncData));
        for item in
            open.log.range(record_key(RecordId { revision: revision + 1, place: 0 })..vec![RECORD + 1])
        {
            write.remove(&open.log, item.key().map_err(to_error)?);
        }
        // Also shows whether the disk takes anything at all.
        write.insert(&open.log, [&[NUMBER], &b"reopened"[..]].concat(), revision.to_be_bytes());
        write.commit().map_err(to_error)?;
        self.open = Some(open);
        Ok(())
    }
}

/// Whether the disk takes some data at all: cheaper to find out than by opening the log.
fn probe(path: &Path) -> io::Result<()> {
    let path = path.join("probe");
    let result = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    });
    fs::remove_file(&path)?;
    result
}

fn lock(path: &Path) -> Result<File, OpenError> {
    let lock = |source| OpenError::Prepare { path: path.to_owned(), source };
    let file =
        File::options().create(true).truncate(false).write(true).open(path.join("lock")).map_err(lock)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(lock(source)),
    }
}

fn check_format(path: &Path) -> Result<(), OpenError> {
    let format = path.join("format");
    match fs::read_to_string(&format) {
        Ok(found) if found == FORMAT => Ok(()),
        Ok(found) => Err(OpenError::Format { path: path.to_owned(), found: found.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.join("log").exists() => {
            Err(OpenError::Format { path: path.to_owned(), found: "no format".to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            base::fs::write_atomic(&format, FORMAT.as_bytes(), 0o600)
                .map_err(|source| OpenError::Prepare { path: path.to_owned(), source })
        }
        Err(source) => Err(OpenError::Prepare { path: path.to_owned(), source }),
    }
}

fn open_database(path: &Path) -> Result<Open, fjall::Error> {
    let database = Database::builder(path)
        .manual_journal_persist(true)
        .worker_threads(1)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(JOURNAL_BYTES)
        .open()?;
    let log =
        database.keyspace("log", || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES))?;
    Ok(Open { database, log })
}

fn load(path: &Path, log: &Keyspace) -> Result<Loaded, OpenError> {
    let database = |source| OpenError::Database { path: path.to_owned(), source };
    let corrupt = |key: &[u8]| OpenError::Corrupt { path: path.to_owned(), key: format!("{key:02x?}") };
    let mut loaded = Loaded::default();
    for item in log.iter() {
        let (key, value) = item.into_inner().map_err(database)?;
        let number = || value[..].try_into().map(u64::from_be_bytes).map_err(|_| corrupt(&key));
        match key.split_first() {
            Some((&RECORD, id)) => {
                let id = record::decode_id(id).ok_or_else(|| corrupt(&key))?;
                loaded.changes.push(record::decode(id, &value).ok_or_else(|| corrupt(&key))?);
            }
            Some((&NUMBER, b"compacted")) => loaded.numbers.compacted = number()?,
            Some((&NUMBER, b"ceiling")) => loaded.numbers.ceiling = number()?,
            Some((&NUMBER, b"last_lease")) => loaded.numbers.last_lease = number()?,
            Some((&NUMBER, b"reopened")) => {}
            Some((&LEASE, id)) => {
                let id = id.try_into().map(u64::from_be_bytes).map_err(|_| corrupt(&key))?;
                loaded.leases.push((LeaseId(id), Duration::from_millis(number()?)));
            }
            _ => return Err(corrupt(&key)),
        }
    }
    Ok(loaded)
}

fn record_key(id: RecordId) -> Vec<u8> {
    [&[RECORD][..], &record::encode_id(id)].concat()
}

fn lease_key(lease: u64) -> Vec<u8> {
    [&[LEASE][..], &lease.to_be_bytes()].concat()
}

/// Tells a full disk from one that fails.
fn to_error(error: fjall::Error) -> Error {
    let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    match error {
        fjall::Error::Io(source) if full(source.kind()) => Error::DiskFull { source: Arc::new(source) },
        fjall::Error::Storage(fjall::LsmError::Io(source)) if full(source.kind()) => {
            Error::DiskFull { source: Arc::new(source) }
        }
        error => Error::Disk { source: Arc::new(error) },
    }
}

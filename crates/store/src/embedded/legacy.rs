//! Taking over a store of the format 1, whose log was a fjall database.
//!
//! One keyspace, whose keys begin with a letter: `r`, a revision and a place in its transaction for
//! a change, `m` and a name for a number, `l` and an id for a lease; all numbers big-endian.
//!
//! The new log is written whole beside the old one, put in its place, and only then does the file
//! `format` say that it counts. Before that moment the old log is all that counts, and a takeover
//! that was cut off begins anew; after it, the old log is set aside, and nobody reads it again.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::Random;
use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::OpenError;
use super::disk::{self, journal, place, set_format, stage};
use super::log::Limits;
use super::memory::Change;
use super::record::Loaded;
use crate::{Event, EventKind, KeyValue, LeaseId, Revision};

/// Where the old log is, and where it is kept after it has been taken over.
pub(crate) const LOG: &str = "log";
const ASIDE: &str = "log.format-1";

const RECORD: u8 = b'r';
const NUMBER: u8 = b'm';
const LEASE: u8 = b'l';
const HEADER: usize = 1 + 3 * 8 + 4;

/// Turns a directory of the format 1 into one of the present format.
pub(crate) fn take_over(path: &Path, limits: Limits, random: &dyn Random) -> Result<(), OpenError> {
    let loaded = match (path.join(LOG).exists(), path.join("log.new").exists()) {
        (true, _) => read(path)?,
        // Its making was cut off: nothing was ever written.
        (false, true) => Loaded::default(),
        (false, false) => return Err(OpenError::Missing { path: path.join(LOG) }),
    };
    let write = || {
        match fs::remove_dir_all(journal(path)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        stage(path, limits, random, Some(&loaded))?;
        place(path)?;
        set_format(path)?;
        set_aside(path)
    };
    write().map_err(|source| disk::prepare(path, source))?;
    tracing::info!(
        path = %path.display(), changes = loaded.changes.len(),
        "took over the store's log of an earlier version, which is kept as {ASIDE}"
    );
    Ok(())
}

/// Moves a log that has been taken over out of the way.
pub(crate) fn set_aside(path: &Path) -> io::Result<()> {
    let (log, aside) = (path.join(LOG), path.join(ASIDE));
    if !log.exists() || aside.exists() {
        return Ok(());
    }
    fs::rename(log, aside)?;
    base::fs::sync_dir(path)
}

fn read(path: &Path) -> Result<Loaded, OpenError> {
    let failed = |source| OpenError::TakeOver { path: path.join(LOG), source };
    let database = Database::builder(path.join(LOG))
        .manual_journal_persist(true)
        .worker_threads(1)
        .open()
        .map_err(failed)?;
    let log = database.keyspace("log", KeyspaceCreateOptions::default).map_err(failed)?;
    load(path, &log)
}

fn load(path: &Path, log: &Keyspace) -> Result<Loaded, OpenError> {
    let failed = |source| OpenError::TakeOver { path: path.join(LOG), source };
    let corrupt = |key: &[u8]| OpenError::Corrupt { path: path.join(LOG), key: format!("{key:02x?}") };
    let mut loaded = Loaded::default();
    for item in log.iter() {
        let (key, value) = item.into_inner().map_err(failed)?;
        let number = || value[..].try_into().map(u64::from_be_bytes).map_err(|_| corrupt(&key));
        match key.split_first() {
            Some((&RECORD, id)) => loaded.changes.push(change(id, &value).ok_or_else(|| corrupt(&key))?),
            Some((&NUMBER, b"compacted")) => loaded.numbers.compacted = number()?,
            Some((&NUMBER, b"ceiling")) => loaded.numbers.ceiling = number()?,
            Some((&NUMBER, b"last_lease")) => loaded.numbers.last_lease = number()?,
            Some((&NUMBER, b"reopened")) => {}
            Some((&LEASE, id)) => {
                let id = id.try_into().map(u64::from_be_bytes).map_err(|_| corrupt(&key))?;
                loaded.leases.insert(LeaseId(id), Duration::from_millis(number()?));
            }
            _ => return Err(corrupt(&key)),
        }
    }
    Ok(loaded)
}

/// Reads one change: kind (1 set, 2 deleted), create revision, version, lease (0 for none), length of
/// the key, key, value.
fn change(id: &[u8], bytes: &[u8]) -> Option<Change> {
    let (revision, place) = id.split_first_chunk::<8>()?;
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let number = |index: usize| -> Option<u64> {
        let start = 1 + index * 8;
        Some(u64::from_be_bytes(header[start..start + 8].try_into().ok()?))
    };
    let key_length = u32::from_be_bytes(header[HEADER - 4..].try_into().ok()?) as usize;
    let (key, value) = rest.split_at_checked(key_length)?;
    let kind = match header[0] {
        1 => EventKind::Put,
        2 => EventKind::Delete,
        _ => return None,
    };
    let kv = Arc::new(KeyValue {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        create_revision: number(0)?,
        mod_revision: Revision::from_be_bytes(*revision),
        version: number(1)?,
        lease: Some(number(2)?).filter(|&lease| lease != 0).map(LeaseId),
    });
    let place = u32::from_be_bytes(place.try_into().ok()?);
    Some(Change { event: Event { kind, kv, previous: None }, place })
}

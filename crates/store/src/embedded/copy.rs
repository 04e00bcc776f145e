//! Looking at a store, copying it into one file, and putting such a file in its place.
//!
//! Reading needs no lock: what a running store has acknowledged never changes, and what it is about
//! to write looks like a torn end. So a backup is that of one moment, while the store goes on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Random, SystemRandom};

use super::OpenError;
use super::disk::{self, FORMAT, FORMAT_1, journal};
use super::files::Directory;
use super::legacy;
use super::log::recover::Recovery;
use super::log::{Limits, LogError, snapshot};
use super::memory::Memory;
use super::record::Loaded;
use crate::{Damage, KeyRange, Revision};

/// How often a running store is read again when its files changed under the reader.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// How far revisions are raised by a restore: nobody may meet a revision again that a damaged store
/// gave and that could not be read.
const RAISE: Revision = 1_000_000;

/// What a store, or a copy of it, holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// The last revision.
    pub revision: Revision,
    /// How many keys have a value.
    pub keys: usize,
    /// How many segments the log has.
    pub segments: usize,
    /// How many bytes they hold.
    pub log_bytes: u64,
    /// Bytes of the snapshot before them, or of the copy; 0 if there is none.
    pub snapshot_bytes: u64,
    /// Whether a write that was never acknowledged was cut off at the end: no harm.
    pub torn: bool,
    /// Whether a process had the store open meanwhile.
    pub running: bool,
    /// Files that do not belong there.
    pub unknown: Vec<String>,
    /// How many groups of acknowledged transactions were passed over because of damage.
    pub skipped: u64,
    /// What is damaged first; `None` if all is well.
    pub damage: Option<Damage>,
}

/// Why a store could not be looked at, copied, or replaced.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// There is no store, or not one that can be used like this.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is of an earlier version.
    #[error("the store in `{}` is that of an earlier version: start gantry once, which takes it over", path.display())]
    Earlier {
        /// The store's directory.
        path: PathBuf,
    },
    /// There is no store.
    #[error("there is no store in `{}`", path.display())]
    Absent {
        /// The store's directory.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the store is not copied")]
    Log(#[from] LogError),
    /// It is damaged, and a copy of less than all was not asked for.
    #[error("the store is not copied: a copy with `--salvage` has what can be read of it")]
    Damaged(#[source] LogError),
    /// The file is no backup that can be used.
    #[error("`{}` is not restored", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: LogError,
    },
    /// The copy would take the place of another file.
    #[error("`{}` is there already: name a file that is not", file.display())]
    Exists {
        /// The file.
        file: PathBuf,
    },
    /// The copy could not be written.
    #[error("write `{}`", file.display())]
    Write {
        /// The file or directory.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Reads the store in the directory `path` as opening it would, and changes nothing. Damage is told
/// in the report.
pub fn check(path: &Path) -> Result<Report, CopyError> {
    let (recovery, error, running) = read(path, true)?;
    Ok(report(recovery, running, damage(error)?).0)
}

/// Copies the store in the directory `path`, open or not, into the new file `file`: all that was
/// acknowledged when this was called, and perhaps a little more.
///
/// A damaged store is not copied unless `salvage`: then what can be read of it is, and the report
/// tells what is wrong.
pub fn backup(path: &Path, file: &Path, salvage: bool) -> Result<Report, CopyError> {
    if file.exists() {
        return Err(CopyError::Exists { file: file.to_owned() });
    }
    let (recovery, error, running) = read(path, salvage)?;
    let damage = damage(error)?;
    if let Some(damage) = damage.clone().filter(|_| !salvage) {
        return Err(CopyError::Damaged(LogError::Damaged(damage)));
    }
    let store = recovery.store;
    let (mut report, contents) = report(recovery, running, damage);
    let (files, name) = beside(file)?;
    report.snapshot_bytes = snapshot::write_to(&files, &SystemRandom, store, &contents, &name)
        .map_err(|source| CopyError::Write { file: file.to_owned(), source })?;
    Ok(report)
}

/// Puts the backup `file` in the place of the store in the directory `path`, which nobody may have
/// open and which need not be there. What was there is kept beside it, as `journal.replaced-1` and
/// so on.
///
/// Revisions go on far above all that the backup and the old store have, and nothing before can be
/// read or watched any more: whoever has seen the lost writes notices.
pub fn restore(path: &Path, file: &Path) -> Result<Report, CopyError> {
    let (files, name) = beside(file)?;
    let mut contents = snapshot::read_from(&files, &name)
        .map_err(|source| CopyError::Backup { file: file.to_owned(), source })?;
    let write = |source| CopyError::Write { file: path.to_owned(), source };
    fs::create_dir_all(path).map_err(write)?;
    let _lock = disk::lock(path)?;
    let mut old = Recovery::default();
    if journal(path).exists() {
        // Whatever is wrong with it is why it is replaced.
        let _ = old.run(&Directory::new(&journal(path)), true);
    }
    let last = snapshot::last_revision(&contents).max(snapshot::last_revision(&old.loaded));
    contents.numbers.ceiling = last + RAISE;
    contents.numbers.compacted = last + RAISE;
    contents.numbers.last_lease = contents.numbers.last_lease.max(old.loaded.numbers.last_lease) + RAISE;
    let contents = live(&mut contents);
    disk::stage(path, Limits::default(), &SystemRandom as &dyn Random, Some(&contents)).map_err(write)?;
    // From here on there is no way back to an earlier version's log.
    disk::set_format(path).map_err(write)?;
    for log in ["journal", legacy::LOG] {
        set_aside(path, log).map_err(write)?;
    }
    disk::place(path).map_err(write)?;
    check(path)
}

/// Reads a store, whoever has it open. With `pass_over`, what is behind damage is read too.
fn read(path: &Path, pass_over: bool) -> Result<(Recovery, Option<LogError>, bool), CopyError> {
    if !path.exists() {
        return Err(CopyError::Absent { path: path.to_owned() });
    }
    let lock = match disk::lock(path) {
        Ok(lock) => Some(lock),
        Err(OpenError::Locked { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    match disk::format(path)?.as_deref() {
        None if !journal(path).exists() => return Err(CopyError::Absent { path: path.to_owned() }),
        Some(FORMAT_1) => return Err(CopyError::Earlier { path: path.to_owned() }),
        None | Some(FORMAT) => {}
        Some(found) => {
            let found = found.trim().to_owned();
            return Err(OpenError::Format { path: path.to_owned(), found }.into());
        }
    }
    if !journal(path).exists() {
        return Err(OpenError::Missing { path: journal(path) }.into());
    }
    let files = Directory::new(&journal(path));
    let mut tries = if lock.is_some() { 1 } else { TRIES };
    loop {
        let mut recovery = Recovery::default();
        let result = recovery.run(&files, pass_over);
        tries -= 1;
        if result.is_ok() || tries == 0 {
            return Ok((recovery, result.err(), lock.is_none()));
        }
        std::thread::sleep(PAUSE);
    }
}

fn damage(error: Option<LogError>) -> Result<Option<Damage>, CopyError> {
    match error {
        None => Ok(None),
        Some(LogError::Damaged(damage)) => Ok(Some(damage)),
        Some(error) => Err(error.into()),
    }
}

fn report(mut recovery: Recovery, running: bool, damage: Option<Damage>) -> (Report, Loaded) {
    let revision = snapshot::last_revision(&recovery.loaded);
    let contents = live(&mut recovery.loaded);
    let mut memory = Memory::default();
    memory.apply(contents.changes.iter().cloned(), revision);
    let report = Report {
        revision,
        keys: memory.current(&KeyRange::prefix("")).count(),
        segments: recovery.segments,
        log_bytes: recovery.log_bytes,
        snapshot_bytes: recovery.snapshot_bytes,
        torn: recovery.torn,
        running,
        unknown: recovery.unknown,
        skipped: recovery.skipped,
        damage,
    };
    (report, contents)
}

/// What is left of the contents of a log without what is compacted.
fn live(contents: &mut Loaded) -> Loaded {
    contents.sort();
    let revision = snapshot::last_revision(contents);
    let mut memory = Memory::default();
    memory.apply(std::mem::take(&mut contents.changes), revision);
    memory.compact(contents.numbers.compacted);
    while memory.compact_step(usize::MAX) {}
    let mut live = Loaded {
        numbers: contents.numbers,
        leases: std::mem::take(&mut contents.leases),
        ..Loaded::default()
    };
    memory.changes_until(None, usize::MAX, revision, &mut live.changes);
    live.sort();
    live
}

/// Gives a log a name under which it is kept.
fn set_aside(path: &Path, name: &str) -> io::Result<()> {
    if !path.join(name).exists() {
        return Ok(());
    }
    let free = (1..).map(|number| path.join(format!("{name}.replaced-{number}"))).find(|path| !path.exists());
    fs::rename(path.join(name), free.expect("there are enough numbers"))
}

/// The directory and the name of a file.
fn beside(file: &Path) -> Result<(Directory, String), CopyError> {
    let named = file.file_name().and_then(|name| name.to_str());
    let Some(name) = named else {
        let source = io::Error::new(io::ErrorKind::InvalidInput, "it is no name of a file");
        return Err(CopyError::Write { file: file.to_owned(), source });
    };
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((Directory::new(parent), name.to_owned()))
}

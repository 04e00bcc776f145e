//! The backend inside the process: current values and recent history in memory, a log on disk.
//!
//! One thread writes ([`commit`]); reads and watches are answered from [`memory`] by whoever asks.
//! The directory of a store is told in [`disk`], the log in it in [`log`].

mod commit;
mod copy;
mod disk;
#[cfg(test)]
mod faulty;
mod files;
mod inbox;
mod keeper;
mod lease;
mod legacy;
mod log;
mod memory;
mod plan;
mod record;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use base::Clock;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use self::commit::{Answer, Committer, Request};
pub use self::copy::{CopyError, Report, backup, check, restore};
use self::disk::Disk;
use self::inbox::Inbox;
use self::lease::Leases;
pub use self::log::{Damage, LogError};
use self::memory::Memory;
use self::record::Loaded;
use crate::watch::{self, Sender};
use crate::{
    Error, KeyRange, LeaseId, Range, RangeResult, Revision, Status, Store, Txn, TxnResult, Watch, WatchError,
    Watcher,
};

/// A store in one directory, opened by one process at a time.
///
/// Dropping it lets what waits be written, closes the log and ends all watches; this blocks for
/// about one flush.
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// How an [`Embedded`] store keeps its history.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long superseded values can still be read and watched; `None` for no limit.
    pub history_age: Option<Duration>,
    /// How many changes are kept at most, whatever their age.
    pub history_events: usize,
    /// How many bytes of superseded values are kept at most, whatever their age.
    pub history_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history_age: Some(Duration::from_secs(240)), history_events: 50_000, history_bytes: 32 << 20 }
    }
}

/// Why an [`Embedded`] store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store in `{}` is in use by another process: stop that one, or choose another root", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// The directory could not be made ready.
    #[error("prepare the directory `{}` of the store", path.display())]
    Prepare {
        /// The store's directory.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The directory holds something else, or a store of a later version.
    #[error("`{}` holds `{found}`, not a store that this version can open", path.display())]
    Format {
        /// The store's directory.
        path: PathBuf,
        /// What its file `format` says.
        found: String,
    },
    /// The log cannot be read, or what was acknowledged is not there any more. Nothing was changed.
    #[error(
        "the store in `{}` cannot be opened, and was left as it is: `gantry store check` tells what is wrong, \
         `gantry store restore FILE` puts a backup in its place, \
         `gantry store backup --salvage FILE` saves what can be read", path.display()
    )]
    Log {
        /// The store's directory.
        path: PathBuf,
        /// What failed.
        source: LogError,
    },
    /// The log is not there at all, though there was one.
    #[error(
        "`{}` is missing, without which there is no store: put it back, or a backup by `gantry store restore FILE`",
        path.display()
    )]
    Missing {
        /// The directory of the log.
        path: PathBuf,
    },
    /// The log of an earlier version could not be read. It was not changed.
    #[error("read the log of an earlier version in `{}`", path.display())]
    TakeOver {
        /// The directory of that log.
        path: PathBuf,
        /// What failed.
        source: fjall::Error,
    },
    /// The log of an earlier version holds a record that cannot be read.
    #[error("the log of an earlier version in `{}` has an unreadable record {key}", path.display())]
    Corrupt {
        /// The directory of that log.
        path: PathBuf,
        /// The record's key, in hexadecimal.
        key: String,
    },
    /// The writing thread could not be started.
    #[error("start the writing thread of the store")]
    Thread {
        /// What failed.
        source: io::Error,
    },
}

/// What the writing thread and the callers share.
struct Shared {
    inbox: Inbox,
    /// Locked before `memory` where both are.
    watchers: Mutex<Vec<Sender>>,
    memory: RwLock<Memory>,
    leases: Mutex<Leases>,
    /// Why nothing can be written, as text for people.
    read_only: Mutex<Option<String>>,
    /// Cancelled when nothing is written any more.
    ended: CancellationToken,
    clock: Arc<dyn Clock>,
}

impl Embedded {
    /// Opens the store in the directory `path`, which is made if it is not there.
    ///
    /// Blocks until everything is in memory. A store that was killed opens with all that it
    /// acknowledged; its leases begin their time to live anew.
    pub fn open(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let (disk, loaded) = Disk::open(path)?;
        let store = Self::over(disk, loaded, options, clock)?;
        tracing::debug!(path = %path.display(), "opened the store");
        Ok(store)
    }

    fn over(
        disk: Disk,
        mut loaded: Loaded,
        options: Options,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        loaded.sort();
        let mut numbers = loaded.numbers;
        let mut memory = Memory::default();
        memory.apply(loaded.changes, numbers.ceiling.max(numbers.compacted));
        memory.compact(numbers.compacted);
        while memory.compact_step(usize::MAX) {}
        let mut leases = Leases::default();
        let now = clock.elapsed();
        for (lease, ttl) in loaded.leases {
            leases.grant(lease, ttl, now);
            numbers.last_lease = numbers.last_lease.max(lease.0);
        }
        memory.current(&KeyRange::prefix("")).for_each(|kv| leases.attach(kv));
        let shared = Arc::new(Shared {
            inbox: Inbox::default(),
            watchers: Mutex::default(),
            memory: RwLock::new(memory),
            leases: Mutex::new(leases),
            read_only: Mutex::default(),
            ended: CancellationToken::new(),
            clock,
        });
        let committer = Committer::new(shared.clone(), options, disk, numbers);
        // However it ends.
        let ended = shared.ended.clone().drop_guard();
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let _ended = ended;
                committer.run();
            })
            .map_err(|source| OpenError::Thread { source })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Looks at the clock now: which leases have run out, what history is too old. Needed only
    /// where the clock is moved by hand.
    pub fn wake(&self) {
        self.shared.inbox.wake();
    }

    /// Sends a request to the writing thread and waits for its answer.
    fn request<T: Send + 'static>(
        &self,
        make: impl FnOnce(Answer<T>) -> Request,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let (answer, answered) = oneshot::channel();
        let sent = self.shared.inbox.push(make(answer));
        async move {
            sent?;
            answered.await.map_err(|_| Error::Closed)?
        }
        .boxed()
    }

    fn watch_now(&self, request: Watch) -> Result<Watcher, Error> {
        let mut watchers = self.shared.watchers.lock();
        // Whoever came to tell would never come, and whoever came to watch would wait for ever.
        if self.shared.inbox.is_closed() {
            return Err(Error::Closed);
        }
        let memory = self.shared.memory.read();
        let current = memory.revision();
        let start = request.start.unwrap_or(current + 1);
        let (replay, all) = memory
            .changes(&request.keys, start, request.buffer)
            .map_err(|oldest| Error::Compacted { requested: start, oldest })?;
        let (sender, watcher) = watch::channel(request, replay, start.saturating_sub(1), current);
        if all {
            watchers.push(sender);
        } else {
            sender.close(WatchError::Lagged { told: 0 });
        }
        Ok(watcher)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.inbox.close();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the writing thread of the store panicked");
        }
    }
}

impl Store for Embedded {
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        std::future::ready(self.shared.memory.read().range(&request)).boxed()
    }

    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        self.request(|answer| Request::Txn(txn, answer))
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        // Not between a change's being visible to readers and to watchers.
        let _watchers = self.shared.watchers.lock();
        std::future::ready(Ok(self.shared.memory.read().revision())).boxed()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        std::future::ready(self.watch_now(request)).boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        self.request(|answer| Request::Compact(revision, answer))
    }

    fn purge(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.request(Request::Purge)
    }

    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.request(|answer| Request::LeaseGrant(ttl, answer))
    }

    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        let renewed = self.shared.leases.lock().renew(lease, self.shared.clock.elapsed());
        std::future::ready(if renewed { Ok(()) } else { Err(Error::LeaseNotFound { lease }) }).boxed()
    }

    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        self.request(|answer| Request::LeaseRevoke(lease, answer))
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        let watchers = self.shared.watchers.lock().iter().filter(|watcher| !watcher.is_abandoned()).count();
        let memory = self.shared.memory.read();
        let status = Status {
            revision: memory.revision(),
            compacted: memory.compacted(),
            keys: memory.live(),
            memory_bytes: memory.bytes(),
            watchers,
            read_only: self.shared.read_only.lock().clone(),
        };
        std::future::ready(Ok(status)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.shared.inbox.close();
        self.shared.ended.cancelled().boxed()
    }
}

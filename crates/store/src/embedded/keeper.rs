//! What is done beside the writing thread: snapshots, and the reserves for a full disk.
//!
//! A snapshot shows the store as it was when its segment began. Its thread reads memory in small
//! portions, between which writers and readers go on; memory frees nothing until it has read all.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use base::Random;

use super::Shared;
use super::files::{Files, is_full};
use super::log::{self, Cut, Limits, Reserves, snapshot};
use super::record::Loaded;
use crate::Revision;

/// How many keys are read while writers wait.
const PORTION: usize = 512;
/// The least that is kept free for a snapshot.
const LEAST_RESERVE: u64 = 1 << 20;
/// What a lease takes in a snapshot.
const LEASE_BYTES: u64 = 1 + 2 * 8;

/// A thread that keeps the log small.
pub(crate) struct Keeper {
    /// The snapshot that it takes; none if it only sees to the reserves.
    pub(crate) cut: Option<Cut>,
    thread: JoinHandle<io::Result<Kept>>,
    flags: Arc<Flags>,
}

#[derive(Default)]
struct Flags {
    stop: AtomicBool,
    done: AtomicBool,
}

/// What a keeper has come to.
pub(crate) struct Kept {
    /// The size of the snapshot, if it took one.
    pub(crate) snapshot: u64,
    /// How much is kept free for the next one.
    pub(crate) reserved: io::Result<u64>,
}

/// What a keeper needs.
pub(crate) struct Job {
    pub(crate) shared: Arc<Shared>,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) limits: Limits,
    pub(crate) reserves: Reserves,
    pub(crate) snapshot: Option<Snapshot>,
}

/// The snapshot to take. Memory has been pinned for it.
pub(crate) struct Snapshot {
    pub(crate) cut: Cut,
    pub(crate) revision: Revision,
    /// Numbers and leases; the changes come from memory.
    pub(crate) contents: Loaded,
}

/// Sets memory free again, whatever happens.
struct Pinned<'a>(&'a Shared);

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.memory.write().pin(false);
    }
}

/// Wakes the writing thread when the work ends, whatever happened.
struct Awaited {
    shared: Arc<Shared>,
    flags: Arc<Flags>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.flags.done.store(true, Ordering::Release);
        self.shared.inbox.wake();
    }
}

impl Keeper {
    pub(crate) fn start(job: Job) -> io::Result<Self> {
        let flags = Arc::<Flags>::default();
        let (cut, theirs) = (job.snapshot.as_ref().map(|snapshot| snapshot.cut), flags.clone());
        let thread =
            std::thread::Builder::new().name("store-keeper".to_owned()).spawn(move || job.run(theirs))?;
        Ok(Self { cut, thread, flags })
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.flags.done.load(Ordering::Acquire)
    }

    /// What came of it, once the snapshot is in place.
    pub(crate) fn join(self) -> io::Result<Kept> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread of the snapshot panicked")))
    }

    /// Gives the work up.
    pub(crate) fn stop(self) {
        self.flags.stop.store(true, Ordering::Relaxed);
        if let Err(error) = self.join() {
            tracing::debug!(%error, "a snapshot of the store was given up");
        }
    }
}

impl Shared {
    /// How large a snapshot would be at most that has what there is now, without the history.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        let leases = self.leases.lock().len() as u64;
        snapshot::most_bytes(self.memory.read().record_bytes() + leases * LEASE_BYTES)
    }
}

impl Job {
    fn run(mut self, flags: Arc<Flags>) -> io::Result<Kept> {
        let awaited = Awaited { shared: self.shared.clone(), flags };
        let stop = &awaited.flags.stop;
        let (mut last, mut snapshot) = (None, 0);
        if let Some(taken) = self.snapshot.take() {
            let cut = taken.cut;
            snapshot = self.take(taken, stop)?;
            last = Some((cut, snapshot));
        }
        Ok(Kept { snapshot, reserved: self.keep_space(last) })
    }

    /// Sees to it that the next snapshot has space on a full disk, and more than it would take now: what is
    /// written until this is looked at again has to fit as well. Gives how much it is.
    fn keep_space(&self, last: Option<(Cut, u64)>) -> io::Result<u64> {
        let now = self.shared.snapshot_bytes();
        let least = now + now / 4;
        let ample = least.next_multiple_of(LEAST_RESERVE).max(LEAST_RESERVE);
        match self.reserve(ample) {
            Ok(()) => Ok(ample),
            Err(error) if !is_full(&error) => Err(error),
            Err(full) => self.reserve_what_is_there(last, least).map(|()| least).map_err(|_| full),
        }
    }

    fn reserve(&self, snapshot: u64) -> io::Result<()> {
        log::reserve(&*self.files, &self.reserves, self.limits, snapshot)
    }

    /// As [`Self::reserve`] on a full disk, out of the space that the store has.
    fn reserve_what_is_there(&self, last: Option<(Cut, u64)>, least: u64) -> io::Result<()> {
        match self.reserve(least) {
            Err(error) if is_full(&error) => {}
            made => return made,
        }
        if let Some((cut, size)) = last {
            log::give_up_excess(&*self.files, &cut, size)?;
        }
        // A segment first: without one there is no snapshot.
        match self.reserve(least) {
            Err(error) if is_full(&error) => log::lengthen(&*self.files, least),
            made => made,
        }
    }

    fn take(&self, snapshot: Snapshot, stop: &AtomicBool) -> io::Result<u64> {
        let Snapshot { cut, revision, mut contents } = snapshot;
        let pinned = Pinned(&self.shared);
        let mut after = None;
        loop {
            let memory = self.shared.memory.read();
            after = memory.changes_until(after.as_ref(), PORTION, revision, &mut contents.changes);
            drop(memory);
            if after.is_none() {
                break;
            }
            if stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        drop(pinned);
        contents.sort();
        let size = snapshot::write(&*self.files, &*self.random, cut, &contents, stop)?;
        if let Err(error) = snapshot::remove_older(&*self.files, cut.sequence, self.limits.reserve()) {
            tracing::debug!(%error, "cannot remove segments that a snapshot has taken the place of");
        }
        tracing::debug!(revision, bytes = size, "took a snapshot of the store");
        Ok(size)
    }
}

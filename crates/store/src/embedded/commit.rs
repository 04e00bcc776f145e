//! The one thread that writes: groups what waits, plans it, flushes it once, shows it, answers.
//!
//! While a group is being flushed the next one gathers, so the number of flushes adapts to the
//! disk by itself. A change becomes visible to readers and watchers only after it is on disk.
//!
//! ```text
//!   requests ──▶ plan ──▶ write + fdatasync ──▶ memory, watchers ──▶ answers ──▶ compaction
//!                  ▲             │ fails                                           snapshot
//!                  └── read-only ◀┘   (every second: try to go on in another file)
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::disk::{Batch, Disk};
use super::files::is_full;
use super::keeper::{Job, Keeper, Kept, Snapshot};
use super::lease::Expired;
use super::memory::{Change, Memory};
use super::plan::{Plan, ReadOnly};
use super::record::{CHANGE_OVERHEAD, Loaded, Numbers};
use super::{Options, Shared};
use crate::{Error, Event, KeyRange, LeaseId, Op, Revision, Txn, TxnResult, WatchError};

/// How many requests one flush covers at most.
const GROUP_LIMIT: usize = 4096;
/// How often a store that became read-only tries the disk again.
const RETRY: Duration = Duration::from_secs(1);
/// How finely the age of revisions is known: in parts of the age that is kept.
const AGE_SAMPLES: u32 = 8;
/// How many changes are freed while readers wait.
const COMPACTION_STEP: usize = 1024;
/// How many keys are deleted at once whose leases have run out. Whoever follows them can go on from any
/// revision, so that the steps are what it has to keep up with.
const EXPIRY_STEP: usize = 100;
/// How long others have the store to themselves after such a step, where there is more to delete.
const EXPIRY_PAUSE: Duration = Duration::from_millis(25);
/// How long the log must rest before its mark is flushed.
const REST: Duration = Duration::from_secs(1);
/// How long after a snapshot that failed the next one is tried.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);

/// How long after the space for a snapshot could not be had it is tried again.
const RESERVE_RETRY: Duration = Duration::from_secs(10);

/// What the writing thread is asked to do.
pub(crate) enum Request {
    Txn(Txn, Answer<TxnResult>),
    Compact(Revision, Answer<()>),
    LeaseGrant(Duration, Answer<LeaseId>),
    LeaseRevoke(LeaseId, Answer<()>),
}

/// Where the answer to a request goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

impl Request {
    /// How many bytes it sets at most.
    pub(crate) fn bytes(&self) -> usize {
        let Self::Txn(txn, _) = self else { return 0 };
        let set = |op: &Op| match op {
            Op::Put(put) => CHANGE_OVERHEAD + put.key.len() + put.value.len(),
            _ => 0,
        };
        txn.success.iter().map(set).sum::<usize>().max(txn.failure.iter().map(set).sum())
    }
}

/// The state of the writing thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    options: Options,
    disk: Disk,
    numbers: Numbers,
    /// The numbers as the log has them.
    logged: Numbers,
    failure: Option<Failure>,
    /// When the mark is to be flushed, unless something is written before.
    rest: Option<Duration>,
    keeper: Option<Keeper>,
    /// No keys of leases that have run out are deleted before this time.
    next_expiry: Duration,
    /// No snapshot is tried before this time.
    next_snapshot: Duration,
    reserve: Reserve,
    /// What the revision was at some times in the past, oldest first.
    ages: VecDeque<(Duration, Revision)>,
}

/// What is kept free for a snapshot on a full disk.
#[derive(Default)]
struct Reserve {
    bytes: u64,
    /// Whether there was no space the last time for as much as it should be.
    is_short: bool,
    /// It is not looked at before this time.
    next: Duration,
}

/// Why something cannot be written, and when to try again.
struct Failure {
    why: ReadOnly,
    retry: Duration,
}

/// What a group of requests comes to.
struct Group {
    changes: Vec<Change>,
    revision: Revision,
    numbers: Numbers,
    leases: Vec<(LeaseId, Option<Duration>)>,
    compact: Option<Revision>,
    answers: Vec<Outcome>,
}

/// The answer to one request, given once its group is on disk.
enum Outcome {
    Txn(Answer<TxnResult>, TxnResult),
    Lease(Answer<LeaseId>, LeaseId),
    Done(Answer<()>),
}

impl Committer {
    pub(crate) fn new(shared: Arc<Shared>, options: Options, disk: Disk, numbers: Numbers) -> Self {
        Self {
            shared,
            options,
            disk,
            numbers,
            logged: numbers,
            failure: None,
            rest: None,
            keeper: None,
            next_expiry: Duration::ZERO,
            next_snapshot: Duration::ZERO,
            reserve: Reserve::default(),
            ages: VecDeque::new(),
        }
    }

    /// Works until the store is closed.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.disk.prepare(0) {
            self.fail(error);
        }
        self.keep_reserves();
        while let Some(requests) = self.shared.inbox.take(GROUP_LIMIT, self.wait_time()) {
            self.retry_disk();
            self.commit(requests);
            self.compact_by_limits();
            self.flush_mark();
            self.keep_small();
        }
        self.close();
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let expired = self.expired();
        if requests.is_empty() && expired.is_empty() {
            return;
        }
        self.take_space(&requests);
        let group = self.plan(requests, expired);
        if let Err(error) = self.write(&group) {
            self.fail(error.clone());
            group.answers.into_iter().for_each(|outcome| outcome.send(Err(error.clone())));
            return;
        }
        let compact = group.compact;
        let answers = self.show(group);
        if let Some(revision) = compact {
            self.compact(revision);
        }
        answers.into_iter().for_each(|outcome| outcome.send(Ok(())));
    }

    /// The leases that have run out, as far as their keys are deleted in this group.
    fn expired(&mut self) -> Vec<Expired> {
        let now = self.shared.clock.elapsed();
        // Where they could not be deleted they stay until the disk is back.
        if !self.can_delete() || now < self.next_expiry {
            return Vec::new();
        }
        let expired = self.shared.leases.lock().expired(now, EXPIRY_STEP);
        if expired.iter().map(|lease| lease.keys.len()).sum::<usize>() >= EXPIRY_STEP {
            self.next_expiry = now + EXPIRY_PAUSE;
        }
        expired
    }

    /// Whether deletions can be written.
    fn can_delete(&self) -> bool {
        self.failure.as_ref().is_none_or(|failure| failure.why.but_deletions)
    }

    /// Takes the space for what the requests set, before anything is decided: if there is none, what
    /// needs none still goes on.
    fn take_space(&mut self, requests: &[Request]) {
        if self.failure.is_some() {
            return;
        }
        let bytes: usize = requests.iter().map(Request::bytes).sum();
        if bytes > 0
            && let Err(error) = self.disk.prepare(bytes as u64)
        {
            self.fail(error);
        }
    }

    /// Decides what a group of requests comes to; answers at once those that fail.
    fn plan(&self, requests: Vec<Request>, expired: Vec<Expired>) -> Group {
        let memory = self.shared.memory.read();
        let leases = self.shared.leases.lock();
        let read_only = self.failure.as_ref().map(|failure| failure.why.clone());
        let mut plan = Plan::new(&memory, read_only.clone());
        let mut numbers = self.numbers;
        let mut ended = Vec::new();
        let (mut granted, mut compact, mut answers) = (Vec::new(), None, Vec::new());
        let delete = |keys: &mut dyn Iterator<Item = Bytes>| {
            let success = keys.map(KeyRange::key).map(Op::Delete).collect();
            Txn { success, ..Txn::default() }
        };
        for lease in expired {
            let added = plan.add(delete(&mut lease.keys.into_iter()), |_| true);
            if added.is_ok() && lease.whole {
                ended.push(lease.id);
            }
        }
        for request in requests {
            match request {
                Request::Txn(txn, answer) => {
                    let exists = |lease| leases.exists(lease) && !ended.contains(&lease);
                    match txn.check().and_then(|()| plan.add(txn, exists)) {
                        Ok(result) => answers.push(Outcome::Txn(answer, result)),
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
                Request::Compact(revision, answer) => match check_compaction(&memory, revision) {
                    Ok(()) => {
                        compact = compact.max(Some(revision));
                        answers.push(Outcome::Done(answer));
                    }
                    Err(error) => drop(answer.send(Err(error))),
                },
                Request::LeaseGrant(ttl, answer) => match &read_only {
                    Some(why) => drop(answer.send(Err(why.error.clone()))),
                    None => {
                        numbers.last_lease += 1;
                        let lease = LeaseId(numbers.last_lease);
                        granted.push((lease, ttl));
                        answers.push(Outcome::Lease(answer, lease));
                    }
                },
                Request::LeaseRevoke(lease, answer) => {
                    let txn = delete(&mut leases.keys(lease).cloned());
                    let known = leases.exists(lease) && !ended.contains(&lease);
                    let planned = match &read_only {
                        Some(why) if !why.but_deletions => Err(why.error.clone()),
                        _ if !known => Err(Error::LeaseNotFound { lease }),
                        _ => plan.add(txn, |_| true),
                    };
                    match planned {
                        Ok(_) => {
                            ended.push(lease);
                            answers.push(Outcome::Done(answer));
                        }
                        Err(error) => drop(answer.send(Err(error))),
                    }
                }
            }
        }
        let (changes, revision) = plan.finish();
        let granted = granted.into_iter().map(|(lease, ttl)| (lease, Some(ttl)));
        let leases = granted.chain(ended.into_iter().map(|lease| (lease, None))).collect();
        Group { changes, revision, numbers, leases, compact, answers }
    }

    /// Puts a group on disk.
    fn write(&mut self, group: &Group) -> Result<(), Error> {
        let numbers = group.numbers;
        // What was compacted alone is not worth a flush: it is found out again.
        let changed = Numbers { compacted: self.logged.compacted, ..numbers } != self.logged;
        let mut batch = Batch {
            changes: &group.changes,
            revision: group.revision,
            numbers: changed.then_some(numbers),
            leases: &group.leases,
        };
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(failure) = self.failure.as_ref().filter(|failure| !failure.why.but_deletions) {
            return Err(failure.why.error.clone());
        }
        batch.numbers = (numbers != self.logged).then_some(numbers);
        match self.disk.write(&batch) {
            // A snapshot makes space: the reserve goes on as its segment, and the next one is made of
            // what it takes the place of.
            Err(Error::DiskFull { .. }) => {
                self.end_keeper();
                self.begin_snapshot();
                self.disk.write(&batch)?;
            }
            result => result?,
        }
        self.logged = numbers;
        self.numbers = Numbers { compacted: self.numbers.compacted, ..numbers };
        self.rest = Some(self.shared.clock.elapsed() + REST);
        Ok(())
    }

    /// Makes a group visible to readers and watchers; gives the answers that are due.
    fn show(&self, group: Group) -> Vec<Outcome> {
        let events: Vec<Event> = group.changes.iter().map(|change| change.event.clone()).collect();
        if !group.leases.is_empty() || !events.is_empty() {
            let now = self.shared.clock.elapsed();
            let mut leases = self.shared.leases.lock();
            group
                .leases
                .iter()
                .filter_map(|&(id, ttl)| Some((id, ttl?)))
                .for_each(|(id, ttl)| leases.grant(id, ttl, now));
            events.iter().for_each(|event| leases.apply(event));
            group.leases.iter().filter(|(_, ttl)| ttl.is_none()).for_each(|&(id, _)| leases.remove(id));
        }
        if !events.is_empty() {
            // Held over both, so that no watch that begins in between misses or repeats a change.
            let mut watchers = self.shared.watchers.lock();
            self.shared.memory.write().apply(group.changes, group.revision);
            watchers.retain(|watcher| watcher.send(&events, group.revision));
        }
        group.answers
    }

    fn compact(&mut self, revision: Revision) {
        self.shared.memory.write().compact(revision);
        // Written with the next group: if it is lost, it is only found out again.
        self.numbers.compacted = revision;
        self.free();
        tracing::debug!(revision, "compacted the store");
    }

    /// Frees what was compacted, unless a snapshot still reads it.
    fn free(&self) {
        // The lock is let go between the steps, so that readers wait for one step at most.
        while self.shared.memory.write().compact_step(COMPACTION_STEP) {}
    }

    /// Compacts what is older or more than the options allow.
    fn compact_by_limits(&mut self) {
        let target = {
            let memory = self.shared.memory.read();
            let excess = memory.excess(self.options.history_events, self.options.history_bytes);
            let (revision, compacted) = (memory.revision(), memory.compacted());
            drop(memory);
            excess.max(self.aged(revision, compacted)).filter(|&target| target > compacted)
        };
        if let Some(target) = target {
            self.compact(target);
        }
    }

    /// The revision whose predecessors are too old, if there is one.
    fn aged(&mut self, revision: Revision, compacted: Revision) -> Option<Revision> {
        let age = self.options.history_age?;
        let now = self.shared.clock.elapsed();
        let due = match self.ages.back() {
            Some(&(at, noted)) => noted < revision && now >= at + age / AGE_SAMPLES,
            None => revision > compacted,
        };
        if due {
            self.ages.push_back((now, revision));
        }
        let mut target = None;
        while self.ages.front().is_some_and(|&(at, _)| at + age <= now) {
            target = self.ages.pop_front().map(|(_, revision)| revision);
        }
        target
    }

    /// How long nothing has to be done if no request comes.
    fn wait_time(&self) -> Option<Duration> {
        let mut next = self.failure.as_ref().map(|failure| failure.retry);
        let mut note = |at: Option<Duration>| next = [next, at].into_iter().flatten().min();
        note(self.rest);
        if self.can_delete() {
            let deadline = self.shared.leases.lock().next_deadline();
            note(deadline.map(|deadline| deadline.max(self.next_expiry)));
        }
        if let Some(age) = self.options.history_age {
            note(self.ages.front().map(|&(at, _)| at + age));
            let revision = self.shared.memory.read().revision();
            note(
                self.ages
                    .back()
                    .filter(|&&(_, noted)| noted < revision)
                    .map(|&(at, _)| at + age / AGE_SAMPLES),
            );
        }
        next.map(|next| next.saturating_sub(self.shared.clock.elapsed()))
    }

    fn retry_disk(&mut self) {
        let now = self.shared.clock.elapsed();
        if self.failure.as_ref().is_none_or(|failure| now < failure.retry) {
            return;
        }
        match self.disk.retry() {
            // What is written now could not be kept small.
            Ok(()) if self.reserve.is_short => {
                if self.keeper.is_none() {
                    self.start_keeper(None);
                }
                if let Some(failure) = &mut self.failure {
                    failure.retry = now + RESERVE_RETRY;
                }
            }
            Ok(()) => {
                tracing::info!("the store can be written again");
                self.failure = None;
                *self.shared.read_only.lock() = None;
                self.keep_reserves();
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        let error = match error {
            // That was one group; whatever comes after it is not written at all.
            Error::Unsettled { source } => Error::Disk { source },
            error => error,
        };
        let text = base::error::chain(&error).to_string();
        let mut read_only = self.shared.read_only.lock();
        if read_only.as_ref() != Some(&text) {
            tracing::warn!(error = text, "the store cannot be written for now, reads go on");
        }
        *read_only = Some(text);
        let but_deletions = matches!(error, Error::DiskFull { .. }) && self.disk.can_delete();
        let why = ReadOnly { error, but_deletions };
        self.failure = Some(Failure { why, retry: self.shared.clock.elapsed() + RETRY });
    }

    /// Flushes the mark once the log has come to rest.
    fn flush_mark(&mut self) {
        if self.rest.is_some_and(|rest| rest <= self.shared.clock.elapsed()) {
            self.rest = None;
            self.disk.log().sync_mark();
        }
    }

    /// Begins a snapshot when it is due, and notes the end of one.
    fn keep_small(&mut self) {
        let now = self.shared.clock.elapsed();
        if self.keeper.as_ref().is_some_and(Keeper::is_finished) {
            self.end_keeper();
            self.free();
        }
        let due = match &self.failure {
            None => self.disk.log().wants_snapshot(),
            Some(failure) => failure.why.but_deletions && self.disk.log().is_short_of_space(),
        };
        if due && self.keeper.is_none() && now >= self.next_snapshot {
            self.begin_snapshot();
        }
        self.keep_reserves();
    }

    /// Waits for the end of a snapshot and notes it.
    fn end_keeper(&mut self) {
        let Some(keeper) = self.keeper.take() else { return };
        let cut = keeper.cut;
        match keeper.join() {
            Ok(Kept { snapshot, reserved }) => {
                if let Some(cut) = cut {
                    self.disk.log().was_cut(&cut, snapshot);
                }
                self.note_reserve(reserved);
            }
            Err(error) => {
                tracing::warn!(%error, "cannot take a snapshot of the store, its log goes on growing");
                self.next_snapshot = self.shared.clock.elapsed() + SNAPSHOT_RETRY;
            }
        }
    }

    fn note_reserve(&mut self, reserved: io::Result<u64>) {
        match reserved {
            Ok(bytes) => self.reserve = Reserve { bytes, ..Reserve::default() },
            Err(error) => {
                tracing::debug!(%error, "cannot keep space for a snapshot on a full disk");
                // While the disk is full anyway, snapshots take what there is.
                self.reserve.is_short |= is_full(&error) && self.failure.is_none();
                self.reserve.next = self.shared.clock.elapsed() + RESERVE_RETRY;
            }
        }
    }

    fn begin_snapshot(&mut self) {
        if self.failure.is_some() {
            // Without the history it is not larger than the last one was, which its space is made of.
            let revision = self.shared.memory.read().revision();
            self.compact(revision);
        }
        let cut = match self.disk.cut() {
            Ok(cut) => cut,
            Err(error) => {
                tracing::warn!(error = %base::error::chain(&error), "cannot begin a snapshot of the store");
                self.next_snapshot = self.shared.clock.elapsed() + SNAPSHOT_RETRY;
                return;
            }
        };
        let leases = self.shared.leases.lock().all();
        let mut memory = self.shared.memory.write();
        memory.pin(true);
        let snapshot = Snapshot {
            cut,
            revision: memory.revision(),
            contents: Loaded { numbers: self.numbers, leases, ..Loaded::default() },
        };
        drop(memory);
        self.start_keeper(Some(snapshot));
    }

    /// Sees to the space that is kept for a full disk, which grows before what it is for does. Where there is none,
    /// nothing is taken that would not fit.
    fn keep_reserves(&mut self) {
        if self.failure.is_some() {
            return;
        }
        let needed = self.shared.snapshot_bytes();
        if needed > self.reserve.bytes {
            // Writers are faster than whoever sees to it: they wait.
            self.end_keeper();
            self.free();
        }
        if self.keeper.is_some() {
            return;
        }
        if needed > self.reserve.bytes && self.reserve.is_short {
            let full = io::Error::new(io::ErrorKind::StorageFull, "there is no space for the next snapshot");
            self.fail(Error::DiskFull { source: Arc::new(full) });
        } else if needed + needed / 8 > self.reserve.bytes && self.shared.clock.elapsed() >= self.reserve.next
        {
            self.start_keeper(None);
        }
    }

    fn start_keeper(&mut self, snapshot: Option<Snapshot>) {
        let pinned = snapshot.is_some();
        let log = self.disk.log();
        let (files, reserves) = (log.files().clone(), log.reserves().clone());
        let (limits, random) = (self.disk.limits(), self.disk.random().clone());
        let job = Job { shared: self.shared.clone(), files, random, limits, reserves, snapshot };
        match Keeper::start(job) {
            Ok(keeper) => self.keeper = Some(keeper),
            Err(error) => {
                tracing::warn!(%error, "cannot start the thread that keeps the store's log small");
                if pinned {
                    self.shared.memory.write().pin(false);
                }
                self.next_snapshot = self.shared.clock.elapsed() + SNAPSHOT_RETRY;
            }
        }
    }

    /// Leaves the log as it is, with what of its numbers was not worth a flush before.
    fn close(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.stop();
        }
        if self.can_delete() {
            let revision = self.shared.memory.read().revision();
            let numbers = Some(self.numbers).filter(|&numbers| numbers != self.logged);
            let batch = Batch { changes: &[], revision, numbers, leases: &[] };
            if !batch.is_empty()
                && let Err(error) = self.disk.write(&batch)
            {
                tracing::warn!(error = %base::error::chain(&error), "cannot close the log cleanly");
            }
        }
        self.disk.log().sync_mark();
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Also when the thread panics: nobody may wait for an answer that never comes.
        if std::thread::panicking() {
            *self.shared.read_only.lock() =
                Some("the writing thread has panicked: restart gantry".to_owned());
        }
        self.shared.inbox.abandon();
        for watcher in self.shared.watchers.lock().drain(..) {
            watcher.close(WatchError::Closed);
        }
    }
}

impl Outcome {
    fn send(self, result: Result<(), Error>) {
        // A caller that no longer waits is no failure.
        match self {
            Self::Txn(answer, done) => drop(answer.send(result.map(|()| done))),
            Self::Lease(answer, lease) => drop(answer.send(result.map(|()| lease))),
            Self::Done(answer) => drop(answer.send(result)),
        }
    }
}

fn check_compaction(memory: &Memory, revision: Revision) -> Result<(), Error> {
    let (oldest, current) = (memory.compacted(), memory.revision());
    if revision <= oldest {
        return Err(Error::Compacted { requested: revision, oldest });
    }
    if revision > current {
        return Err(Error::Future { requested: revision, current });
    }
    Ok(())
}

//! The one thread that writes: groups what waits, plans it, flushes it once, shows it, answers.
//!
//! While a group is being flushed the next one gathers, so the number of flushes adapts to the
//! disk by itself. A change becomes visible to readers and watchers only after it is on disk.
//!
//! ```text
//!   requests ──▶ plan ──▶ write + fdatasync ──▶ memory, watchers ──▶ answers ──▶ compaction
//!                  ▲             │ fails
//!                  └── read-only ◀┘   (every second: open the log anew, try again)
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::disk::{Batch, Disk, Numbers};
use super::memory::{Change, Memory};
use super::plan::Plan;
use super::{Options, Shared};
use crate::{Error, Event, KeyRange, LeaseId, Op, Revision, Txn, TxnResult, WatchError};

/// How many requests one flush covers at most.
const GROUP_LIMIT: usize = 4096;
/// How often a store that became read-only tries the disk again.
const RETRY: Duration = Duration::from_secs(1);
/// How many revisions are set aside at once for changes that are kept in memory only.
const CEILING_STEP: Revision = 10_000;
/// How finely the age of revisions is known: in parts of the age that is kept.
const AGE_SAMPLES: u32 = 8;
/// How many changes are freed while readers wait.
const COMPACTION_STEP: usize = 1024;

/// What the writing thread is asked to do.
pub(crate) enum Request {
    Txn(Txn, Answer<TxnResult>),
    Compact(Revision, Answer<()>),
    LeaseGrant(Duration, Answer<LeaseId>),
    LeaseRevoke(LeaseId, Answer<()>),
}

/// Where the answer to a request goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// The state of the writing thread.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    options: Options,
    disk: Disk,
    numbers: Numbers,
    /// Why nothing can be written, and when to try again.
    failure: Option<(Error, Duration)>,
    /// What the revision was at some times in the past, oldest first.
    ages: VecDeque<(Duration, Revision)>,
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
        Self { shared, options, disk, numbers, failure: None, ages: VecDeque::new() }
    }

    /// Works until the store is closed.
    pub(crate) fn run(mut self) {
        while let Some(requests) = self.shared.inbox.take(GROUP_LIMIT, self.wait_time()) {
            self.retry_disk();
            self.commit(requests);
            self.compact_by_limits();
        }
        self.close();
    }

    fn commit(&mut self, requests: Vec<Request>) {
        let expired = match self.failure {
            // Their keys could not be deleted: they stay until the disk is back.
            Some(_) => Vec::new(),
            None => self.shared.leases.lock().expired(self.shared.clock.elapsed()),
        };
        if requests.is_empty() && expired.is_empty() {
            return;
        }
        let group = self.plan(requests, expired);
        if let Err(error) = self.write(&group) {
            tracing::warn!(error = %base::error::chain(&error), "cannot write the store: it is read-only for now");
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

    /// Decides what a group of requests comes to; answers at once those that fail.
    fn plan(&self, requests: Vec<Request>, expired: Vec<LeaseId>) -> Group {
        let memory = self.shared.memory.read();
        let leases = self.shared.leases.lock();
        let read_only = self.failure.as_ref().map(|(error, _)| error.clone());
        let mut plan = Plan::new(&memory, read_only.clone());
        let mut numbers = self.numbers;
        let mut ended = Vec::new();
        let (mut granted, mut compact, mut answers) = (Vec::new(), None, Vec::new());
        let delete_keys = |lease| leases.keys(lease).cloned().map(KeyRange::key).map(Op::Delete).collect();
        for lease in expired {
            let txn = Txn { success: delete_keys(lease), ..Txn::default() };
            if plan.add(txn, |_| true).is_ok() {
                ended.push(lease);
            }
        }
        for request in requests {
            match request {
                Request::Txn(txn, answer) => {
                    match plan.add(txn, |lease| leases.exists(lease) && !ended.contains(&lease)) {
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
                    Some(error) => drop(answer.send(Err(error.clone()))),
                    None => {
                        numbers.last_lease += 1;
                        let lease = LeaseId(numbers.last_lease);
                        granted.push((lease, ttl));
                        answers.push(Outcome::Lease(answer, lease));
                    }
                },
                Request::LeaseRevoke(lease, answer) => {
                    let txn = Txn { success: delete_keys(lease), ..Txn::default() };
                    let known = leases.exists(lease) && !ended.contains(&lease);
                    let planned = match &read_only {
                        Some(error) => Err(error.clone()),
                        None if !known => Err(Error::LeaseNotFound { lease }),
                        None => plan.add(txn, |_| true),
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
        if revision > numbers.ceiling && changes.iter().any(|change| change.record.is_none()) {
            numbers.ceiling = revision + CEILING_STEP;
        }
        let granted = granted.into_iter().map(|(lease, ttl)| (lease, Some(ttl)));
        let leases = granted.chain(ended.into_iter().map(|lease| (lease, None))).collect();
        Group { changes, revision, numbers, leases, compact, answers }
    }

    /// Puts a group on disk, opening the log anew if it has to be.
    fn write(&mut self, group: &Group) -> Result<(), Error> {
        let numbers = (group.numbers != self.numbers).then_some(group.numbers);
        let batch =
            Batch { changes: &group.changes, numbers, leases: group.leases.clone(), ..Batch::default() };
        if batch.is_empty() {
            return Ok(());
        }
        if let Some((error, _)) = &self.failure {
            return Err(error.clone());
        }
        if let Err(error) = self.disk.write(&batch, true) {
            // The log refuses everything after its first failure, also if that has passed.
            tracing::debug!(error = %base::error::chain(&error), "opening the log anew after a failure");
            let revision = self.shared.memory.read().revision();
            self.disk.reopen(revision)?;
            self.disk.write(&batch, true)?;
        }
        self.numbers = group.numbers;
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
        let mut unneeded = Vec::new();
        loop {
            // The lock is let go between the steps, so that readers wait for one step at most.
            let step = self.shared.memory.write().compact_step(COMPACTION_STEP);
            let Some(records) = step else { break };
            unneeded.extend(records);
        }
        self.numbers.compacted = revision;
        if self.failure.is_some() {
            return;
        }
        // Not flushed: if it is lost, the records are found again when the store is opened.
        let batch = Batch { numbers: Some(self.numbers), unneeded, ..Batch::default() };
        if let Err(error) = self.disk.write(&batch, false) {
            tracing::debug!(error = %base::error::chain(&error), "cannot take superseded records out of the log");
        }
        tracing::debug!(revision, "compacted the store");
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
        let mut next = self.failure.as_ref().map(|&(_, retry)| retry);
        let mut note = |at: Option<Duration>| next = [next, at].into_iter().flatten().min();
        if self.failure.is_none() {
            note(self.shared.leases.lock().next_deadline());
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
        if self.failure.as_ref().is_none_or(|&(_, retry)| now < retry) {
            return;
        }
        let revision = self.shared.memory.read().revision();
        match self.disk.reopen(revision) {
            Ok(()) => {
                tracing::info!("the store can be written again");
                self.failure = None;
                *self.shared.read_only.lock() = None;
            }
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: Error) {
        *self.shared.read_only.lock() = Some(base::error::chain(&error).to_string());
        self.failure = Some((error, self.shared.clock.elapsed() + RETRY));
    }

    /// Leaves the log so that revisions go on without a gap when it is opened again.
    fn close(&mut self) {
        self.numbers.ceiling = self.shared.memory.read().revision();
        if self.failure.is_none() {
            let batch = Batch { numbers: Some(self.numbers), ..Batch::default() };
            if let Err(error) = self.disk.write(&batch, true) {
                tracing::warn!(error = %base::error::chain(&error), "cannot close the log cleanly");
            }
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        // Also when the thread panics: nobody may wait for an answer that never comes.
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

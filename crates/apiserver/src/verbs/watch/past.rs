//! What memory has forgotten, told as the store's history has it.
//!
//! The store is watched from where the client is. It tells faster than the client takes, and what it has told
//! already is held here: a few watches keep that while their clients take a batch, the others begin anew with
//! each.

use std::sync::Arc;

use model::Status;
use store::{Event, KeyRange, KeyValue, WatchError, WatchMessage};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{BATCH, Watcher};
use crate::cache::{Change, ROOT};
use crate::error::{Error, Result};
use crate::version::{revision_of, version_at};

/// How many watches keep their place in the store's history while their clients are waited for. Each holds
/// some thousands of changes at most.
const KEPT: usize = 8;

/// Room for those that do.
pub(crate) struct Room(Arc<Semaphore>);

/// A place in the store's history.
pub(super) struct Past {
    watcher: store::Watcher,
    /// The first change of a revision that is still to be told.
    next: Option<Event>,
    /// After which version it began.
    began: u64,
    /// Without room it is given up with each batch.
    room: Option<OwnedSemaphorePermit>,
}

/// What happens to one that follows the history.
pub(super) enum Next<T> {
    Told(T),
    /// The server stops.
    Stop,
    /// The watch has lasted as long as it may.
    Deadline,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(KEPT)))
    }
}

impl Watcher {
    /// Tells a batch of the changes up to the version `until`, which memory has forgotten.
    pub(super) async fn tell_past(&mut self, until: u64) -> Result<()> {
        // What was in memory only is in no history any more.
        if self.position < self.call.partition().lost() {
            return Err(expired(self.position, until));
        }
        let mut past = match self.past.take() {
            Some(past) => past,
            None => match self.unless_over(self.begin_past(until)).await {
                Next::Told(past) => past?,
                over => {
                    self.leave(over, self.lines.written.place());
                    return Ok(());
                }
            },
        };
        // The version that is being told, and how long the text was before it.
        let (mut last, mut whole) = (self.position, self.lines.written.place());
        loop {
            let message = match past.next.take() {
                Some(event) => Next::Told(Ok(WatchMessage::Event(event))),
                None => self.unless_over(past.watcher.next()).await,
            };
            let message = match message {
                Next::Told(message) => message,
                over => {
                    self.leave(over, whole);
                    return Ok(());
                }
            };
            match message {
                Ok(WatchMessage::Event(event)) => {
                    let version = version_at(event.revision());
                    if version > until {
                        self.position = until;
                        return Ok(());
                    }
                    // One revision is never cut.
                    if version > last {
                        self.position = last;
                        if self.lines.written.len() >= BATCH || self.waits_for_all() {
                            past.next = Some(event);
                            self.keep(past);
                            return Ok(());
                        }
                        (last, whole) = (version, self.lines.written.place());
                    }
                    match self.read_event(&event, until)? {
                        None => {}
                        Some(change) if self.call.resource.storage.served.is_none() => self.tell(&change),
                        Some(change) => {
                            let goes_on = Box::pin(self.tell_served(&change, whole)).await;
                            if !goes_on {
                                return Ok(());
                            }
                        }
                    }
                    tokio::task::coop::consume_budget().await;
                }
                Ok(WatchMessage::Progress(revision)) => {
                    // Of what comes after that revision nothing was written, and nothing is lost.
                    let reached = revision >= revision_of(until);
                    self.position = last.max(if reached { until } else { version_at(revision) });
                    if !reached {
                        // Memory has forgotten more since it was asked.
                        past.watcher.request_progress();
                        self.keep(past);
                    }
                    return Ok(());
                }
                // It came faster than it was taken. What has been told is told as a whole: a store cuts
                // between revisions.
                Err(WatchError::Lagged { .. }) if last > past.began => {
                    self.position = last;
                    return Ok(());
                }
                Err(WatchError::Lagged { .. } | WatchError::Compacted { .. }) => {
                    return Err(expired(self.position, until));
                }
                Err(WatchError::Closed) => return Err(Error::store(&store::Error::Closed)),
            }
        }
    }

    /// Follows the store from where the client is.
    async fn begin_past(&self, until: u64) -> Result<Past> {
        let root = format!("{ROOT}{}/", self.call.resource.storage.partition);
        let keys = match self.selection.only() {
            Some(only) => KeyRange::key(format!("{root}{only}")),
            None => KeyRange::prefix(format!("{root}{}", self.selection.prefix)),
        };
        let request = store::Watch::new(keys).after(revision_of(self.position));
        let watcher = match self.call.state.store.watch(request).await {
            Err(store::Error::Compacted { .. }) => return Err(expired(self.position, until)),
            watcher => watcher.map_err(|error| Error::store(&error))?,
        };
        watcher.request_progress();
        let room = self.call.state.past.0.clone().try_acquire_owned().ok();
        Ok(Past { watcher, next: None, began: self.position, room })
    }

    /// It goes on from here with the next batch, if there is room for it until then.
    fn keep(&mut self, past: Past) {
        self.past = Some(past).filter(|past| past.room.is_some());
    }

    pub(super) async fn unless_over<T>(&self, told: impl Future<Output = T>) -> Next<T> {
        tokio::select! {
            biased;
            () = self.call.state.stop.cancelled() => Next::Stop,
            told = told => Next::Told(told),
            () = tokio::time::sleep_until(self.deadline) => Next::Deadline,
        }
    }

    /// Ends the watch; of the text so much stands, the rest is part of a revision.
    pub(super) fn leave<T>(&mut self, over: Next<T>, whole: (usize, usize)) {
        self.lines.written.truncate(whole);
        match over {
            Next::Deadline => self.end(),
            Next::Stop | Next::Told(_) => self.over = true,
        }
    }

    /// What an event says; nothing of what cannot be read.
    fn read_event(&self, event: &Event, until: u64) -> Result<Option<Change>> {
        let partition = self.call.resource.storage.partition.clone();
        let key = event.kv.key_str().strip_prefix(ROOT).and_then(|key| key.strip_prefix(&*partition));
        let name = key.and_then(|key| key.strip_prefix('/')).unwrap_or_default();
        let stored_in = self.call.partition();
        let read = |kv: &KeyValue| self.call.state.cache.read(&stored_in, &partition, name, kv);
        Change::past(event, read).map_err(|_| expired(self.position, until))
    }
}

pub(super) fn expired(position: u64, until: u64) -> Error {
    Status::expired(format!("too old resource version: {position} ({until})")).into()
}

//! Following the changes of a range of keys.
//!
//! A watch has a bounded buffer: a consumer that falls behind is cut off with
//! [`WatchError::Lagged`] and never holds up a writer, and so is one that begins further behind than that.
//! It is cut between two revisions, and after one at least, so that going on from there gets somewhere. The
//! channel is the same for every backend.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Event, KeyRange, Revision, Seal, sealed};

/// How many changes a watch holds for its consumer, unless it asks for another number.
pub(crate) const DEFAULT_BUFFER: usize = 4096;

/// What to follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Which keys.
    pub keys: KeyRange,
    /// The first revision to tell of, which may be one of the future; `None` for what comes after now.
    pub start: Option<Revision>,
    /// How many changes may wait for the consumer.
    pub buffer: usize,
    /// Tell how far the watch has come when nothing was told for so long.
    pub progress: Option<Duration>,
}

impl Watch {
    /// Follows `keys` from now on.
    pub fn new(keys: KeyRange) -> Self {
        Self { keys, start: None, buffer: DEFAULT_BUFFER, progress: None }
    }

    /// Tells of what happened after `revision`, as a list at `revision` does not show it.
    pub fn after(mut self, revision: Revision) -> Self {
        self.start = Some(revision + 1);
        self
    }

    /// Lets `buffer` changes wait for the consumer.
    pub fn buffer(mut self, buffer: usize) -> Self {
        self.buffer = buffer;
        self
    }

    /// Tells how far the watch has come when nothing was told for `interval`.
    pub fn progress(mut self, interval: Duration) -> Self {
        self.progress = Some(interval);
        self
    }
}

/// What a watch tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WatchMessage {
    /// A change.
    Event(Event),
    /// All changes up to this revision have been told.
    Progress(Revision),
}

/// Why a watch ended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WatchError {
    /// The history no longer reaches back to the start: list anew.
    #[error("revision {requested} is compacted, the oldest left is {oldest}")]
    Compacted {
        /// The revision that the watch was to start from.
        requested: Revision,
        /// The oldest one that can be asked for.
        oldest: Revision,
    },
    /// The consumer was too slow: watch anew after the last revision that was told.
    #[error("the watch fell behind and was cut off after revision {told}")]
    Lagged {
        /// All changes up to this revision have been told.
        told: Revision,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

/// The consumer's end of a watch. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    replay: VecDeque<Event>,
    shared: Arc<Shared>,
    progress: Option<Duration>,
    /// All changes up to here have been handed out.
    told: Revision,
    /// The revision of the last event that was handed out: its siblings may still wait.
    last_event: Revision,
    ended: bool,
    /// How values come back that are kept in another form.
    seal: Option<Arc<dyn Seal>>,
}

impl Watcher {
    /// Opens the values that are told.
    pub(crate) fn opening(mut self, seal: Arc<dyn Seal>) -> Self {
        self.seal = Some(seal);
        self
    }

    /// Waits for the next message. After an error, all further calls give the same error.
    pub async fn next(&mut self) -> Result<WatchMessage, WatchError> {
        loop {
            if let Some(message) = self.try_next() {
                return message;
            }
            let shared = self.shared.clone();
            let changed = shared.changed.notified();
            let Some(interval) = self.progress else {
                changed.await;
                continue;
            };
            if tokio::time::timeout(interval, changed).await.is_ok() {
                continue;
            }
            if self.shared.asked.is_some() {
                self.request_progress();
            } else if let Some(revision) = self.advance() {
                return Ok(WatchMessage::Progress(revision));
            }
        }
    }

    /// The next message if there is one already. All events of one revision are there where one of them is:
    /// none is given only between two revisions.
    pub fn try_next(&mut self) -> Option<Result<WatchMessage, WatchError>> {
        if let Some(event) = self.replay.pop_front() {
            return Some(Ok(self.hand_out(event)));
        }
        let mut queue = self.shared.queue.lock();
        if let Some(event) = queue.events.pop_front() {
            drop(queue);
            return Some(Ok(self.hand_out(event)));
        }
        if let Some(end) = &queue.end {
            let end = end.clone();
            drop(queue);
            return Some(Err(self.end_with(end)));
        }
        if std::mem::take(&mut queue.progress_due) {
            let reached = queue.revision;
            drop(queue);
            // One that starts in the future has not come to its start yet.
            self.told = self.told.max(reached);
            return Some(Ok(WatchMessage::Progress(reached)));
        }
        None
    }

    /// Asks for a [`WatchMessage::Progress`] as soon as all changes so far have been told.
    pub fn request_progress(&self) {
        match &self.shared.asked {
            Some(asked) => asked.notify_one(),
            None => {
                self.shared.queue.lock().progress_due = true;
                self.shared.changed.notify_one();
            }
        }
    }

    /// All changes up to this revision have been handed out by [`Watcher::next`].
    pub fn told(&self) -> Revision {
        self.told
    }

    /// The watch as a stream that ends after an error.
    pub fn into_stream(self) -> impl futures::Stream<Item = Result<WatchMessage, WatchError>> + Send {
        futures::stream::unfold(self, |mut watcher| async move {
            if watcher.ended {
                return None;
            }
            let message = watcher.next().await;
            Some((message, watcher))
        })
    }

    fn hand_out(&mut self, event: Event) -> WatchMessage {
        let revision = event.revision();
        if revision > self.last_event {
            // Only now is it certain that the revision before was told wholly.
            self.told = self.told.max(revision - 1);
            self.last_event = revision;
        }
        WatchMessage::Event(match &self.seal {
            Some(seal) => sealed::open_event(&**seal, event),
            None => event,
        })
    }

    /// Notes that nothing waits; gives the revision reached if that is news.
    fn advance(&mut self) -> Option<Revision> {
        let queue = self.shared.queue.lock();
        if !queue.events.is_empty() || queue.end.is_some() {
            return None;
        }
        let reached = queue.revision;
        drop(queue);
        let news = reached > self.told;
        self.told = self.told.max(reached);
        news.then_some(reached)
    }

    fn end_with(&mut self, end: WatchError) -> WatchError {
        self.ended = true;
        match end {
            WatchError::Lagged { .. } => {
                // No revision is cut, so the last one was told wholly.
                self.told = self.told.max(self.last_event);
                WatchError::Lagged { told: self.told }
            }
            end => end,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.abandoned = true;
        queue.events = VecDeque::new();
        drop(queue);
        if let Some(asked) = &self.shared.asked {
            asked.notify_one();
        }
    }
}

/// The store's end of a watch.
#[derive(Debug)]
pub(crate) struct Sender {
    keys: KeyRange,
    /// What happened before this is not told.
    start: Revision,
    buffer: usize,
    shared: Arc<Shared>,
}

impl Sender {
    /// Passes on those of `events` that lie in the range, all of the revisions up to `revision`.
    /// False if the watch is over.
    pub(crate) fn send(&self, events: &[Event], revision: Revision) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.abandoned {
            return false;
        }
        let before = queue.events.len();
        let told = |event: &&Event| event.revision() >= self.start && self.keys.contains(&event.kv.key);
        queue.events.extend(events.iter().filter(told).cloned());
        queue.revision = queue.revision.max(revision);
        let lagged = queue.events.len() > self.buffer;
        if lagged {
            // What fits may still be consumed.
            let whole = whole(&queue.events, self.buffer);
            queue.events.truncate(whole);
            queue.end = Some(WatchError::Lagged { told: 0 });
        }
        let news = queue.events.len() > before || lagged;
        drop(queue);
        if news {
            self.shared.changed.notify_one();
        }
        !lagged
    }

    /// All changes up to `revision` have been passed on, which was to be found out.
    pub(crate) fn progress(&self, revision: Revision) {
        let mut queue = self.shared.queue.lock();
        queue.revision = queue.revision.max(revision);
        queue.progress_due = true;
        drop(queue);
        self.shared.changed.notify_one();
    }

    /// All changes up to this revision have been passed on.
    pub(crate) fn revision(&self) -> Revision {
        self.shared.queue.lock().revision
    }

    /// Waits until the consumer asks how far the watch has come, or is gone. Of a remote watch only.
    pub(crate) async fn asked(&self) {
        match &self.shared.asked {
            Some(asked) => asked.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the watch once its buffer is consumed.
    pub(crate) fn close(&self, end: WatchError) {
        self.shared.queue.lock().end = Some(end);
        self.shared.changed.notify_one();
    }

    /// Whether the consumer is gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.shared.queue.lock().abandoned
    }
}

/// How many of the first events a watch may hold whose buffer is `buffer`: those of whole revisions, of one
/// at least.
pub(crate) fn whole(events: &VecDeque<Event>, buffer: usize) -> usize {
    let begins = |&index: &usize| events[index].revision() != events[index - 1].revision();
    let mut whole = 0;
    for end in (1..events.len()).filter(begins).chain([events.len()]) {
        if end > buffer && whole > 0 {
            break;
        }
        whole = end;
    }
    whole
}

/// Both ends of a watch that begins with `replay` and has told all up to `told`, where the store
/// stands at `revision`.
pub(crate) fn channel(
    watch: Watch,
    replay: VecDeque<Event>,
    told: Revision,
    revision: Revision,
) -> (Sender, Watcher) {
    join(watch, replay, told, revision, None)
}

/// Both ends of a watch of a store elsewhere, that has told all up to `told`: only that store knows how far
/// it has come.
pub(crate) fn remote(watch: Watch, told: Revision) -> (Sender, Watcher) {
    join(watch, VecDeque::new(), told, told, Some(Notify::new()))
}

fn join(
    watch: Watch,
    replay: VecDeque<Event>,
    told: Revision,
    revision: Revision,
    asked: Option<Notify>,
) -> (Sender, Watcher) {
    let queue = Mutex::new(Queue { revision, ..Queue::default() });
    let shared = Arc::new(Shared { queue, changed: Notify::new(), asked });
    let sender = Sender { keys: watch.keys, start: told + 1, buffer: watch.buffer, shared: shared.clone() };
    let watcher =
        Watcher { replay, shared, progress: watch.progress, told, last_event: 0, ended: false, seal: None };
    (sender, watcher)
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
    /// Tells the store's end that the consumer asks for progress, or is gone, where that end is elsewhere.
    asked: Option<Notify>,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// All changes up to here are in `events` or have been taken from it.
    revision: Revision,
    end: Option<WatchError>,
    /// The consumer is to be told `revision`.
    progress_due: bool,
    abandoned: bool,
}

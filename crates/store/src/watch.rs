//! Following the changes of a range of keys.
//!
//! A watch has a bounded buffer: a consumer that falls behind is cut off with
//! [`WatchError::Lagged`] and never holds up a writer. The channel is the same for every backend.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Event, KeyRange, Revision};

/// How many changes a watch holds for its consumer, unless it asks for another number.
pub(crate) const DEFAULT_BUFFER: usize = 4096;

/// What to follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    /// Which keys.
    pub keys: KeyRange,
    /// The first revision to tell of; `None` for what comes after now.
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
}

impl Watcher {
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
            if tokio::time::timeout(interval, changed).await.is_err()
                && let Some(revision) = self.advance()
            {
                return Ok(WatchMessage::Progress(revision));
            }
        }
    }

    /// The next message if there is one already.
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
        if std::mem::take(&mut queue.progress_wanted) {
            self.told = queue.revision;
            return Some(Ok(WatchMessage::Progress(self.told)));
        }
        None
    }

    /// Asks for a [`WatchMessage::Progress`] as soon as all changes so far have been told.
    pub fn request_progress(&self) {
        self.shared.queue.lock().progress_wanted = true;
        self.shared.changed.notify_one();
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
        WatchMessage::Event(event)
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
            WatchError::Lagged { .. } => WatchError::Lagged { told: self.told },
            end => end,
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.abandoned = true;
        queue.events = VecDeque::new();
    }
}

/// The store's end of a watch.
#[derive(Debug)]
pub(crate) struct Sender {
    keys: KeyRange,
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
        queue.events.extend(events.iter().filter(|event| self.keys.contains(&event.kv.key)).cloned());
        queue.revision = revision;
        let lagged = queue.events.len() > self.buffer;
        if lagged {
            // What was queued whole before may still be consumed; the batch is dropped as one, so
            // that no revision is told by half.
            queue.events.truncate(before);
            queue.end = Some(WatchError::Lagged { told: 0 });
        }
        let news = queue.events.len() > before || lagged || queue.progress_wanted;
        drop(queue);
        if news {
            self.shared.changed.notify_one();
        }
        !lagged
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

/// Both ends of a watch that begins with `replay` and has told all up to `told`, where the store
/// stands at `revision`.
pub(crate) fn channel(
    watch: Watch,
    replay: VecDeque<Event>,
    told: Revision,
    revision: Revision,
) -> (Sender, Watcher) {
    let shared = Arc::new(Shared {
        queue: Mutex::new(Queue { revision, ..Queue::default() }),
        changed: Notify::new(),
    });
    let sender = Sender { keys: watch.keys, buffer: watch.buffer, shared: shared.clone() };
    let watcher = Watcher { replay, shared, progress: watch.progress, told, last_event: 0, ended: false };
    (sender, watcher)
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    /// All changes up to here are in `events` or have been taken from it.
    revision: Revision,
    end: Option<WatchError>,
    progress_wanted: bool,
    abandoned: bool,
}

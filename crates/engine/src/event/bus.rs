//! The ring of remembered events and the channel to those who listen.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, Timestamp};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{Event, EventKind};

/// Events remembered for those who ask for the past.
const REMEMBERED: usize = 1024;
/// Events that a listener may be behind.
const CHANNEL: usize = 4096;

/// Gives out events in order and remembers the last of them.
pub(crate) struct EventBus {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    ring: VecDeque<Arc<Event>>,
    last: Timestamp,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventBus {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            ring: VecDeque::with_capacity(REMEMBERED),
            last: Timestamp::UNIX_EPOCH,
            sender: broadcast::channel(CHANNEL).0,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Tells everybody that `action` happened.
    pub(crate) fn emit(
        &self,
        kind: EventKind,
        action: impl Into<Cow<'static, str>>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let mut state = self.state.lock();
        // Two events at one time could not be told apart by `since`.
        let earliest = state.last.checked_add(Duration::from_nanos(1)).unwrap_or(state.last);
        let at = self.clock.now().max(earliest);
        state.last = at;
        let event = Arc::new(Event { at, kind, action: action.into(), id: id.to_owned(), attributes });
        if state.ring.len() == REMEMBERED {
            state.ring.pop_front();
        }
        state.ring.push_back(Arc::clone(&event));
        // Nobody listening is no failure.
        let _ = state.sender.send(event);
    }

    /// The remembered events from `since` on, and all that follow: none is missed, none comes twice.
    pub(crate) fn subscribe(
        &self,
        since: Option<Timestamp>,
    ) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let state = self.state.lock();
        let past = match since {
            Some(since) => state.ring.iter().filter(|event| event.at >= since).cloned().collect(),
            None => Vec::new(),
        };
        (past, state.sender.subscribe())
    }
}

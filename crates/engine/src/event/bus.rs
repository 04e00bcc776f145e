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
/// How much they may be together, bytes.
const REMEMBERED_BYTES: usize = 8 << 20;
/// Events that a listener may be behind.
const CHANNEL: usize = 4096;
/// How much an event may say of what happened, and of what it happened to, bytes: labels and commands
/// are as long as their senders like, and thousands of events wait for whoever is slow.
const ACTION: usize = 4 << 10;
const ATTRIBUTES: usize = 16 << 10;

/// Gives out events in order and remembers the last of them.
pub(crate) struct EventBus {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    ring: VecDeque<Arc<Event>>,
    /// How much the remembered are together.
    bytes: usize,
    last: Timestamp,
    sender: broadcast::Sender<Arc<Event>>,
}

impl EventBus {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            ring: VecDeque::with_capacity(REMEMBERED),
            bytes: 0,
            last: Timestamp::UNIX_EPOCH,
            sender: broadcast::channel(CHANNEL).0,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Tells everybody that `action` happened. Attributes are left out, the longest first, and what
    /// happened is cut off, where there would be too much of it.
    pub(crate) fn emit(
        &self,
        kind: EventKind,
        action: impl Into<Cow<'static, str>>,
        id: &str,
        attributes: BTreeMap<String, String>,
    ) {
        let (action, attributes) = (cut(action.into()), bounded(attributes));
        let mut state = self.state.lock();
        // Two events at one time could not be told apart by `since`.
        let earliest = state.last.checked_add(Duration::from_nanos(1)).unwrap_or(state.last);
        let at = self.clock.now().max(earliest);
        state.last = at;
        let event = Arc::new(Event { at, kind, action, id: id.to_owned(), attributes });
        state.bytes += size(&event);
        state.ring.push_back(Arc::clone(&event));
        while state.ring.len() > REMEMBERED || state.bytes > REMEMBERED_BYTES {
            let Some(oldest) = state.ring.pop_front() else { break };
            state.bytes -= size(&oldest);
        }
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

fn size(event: &Event) -> usize {
    event.id.len() + event.action.len() + length(&event.attributes)
}

fn length(attributes: &BTreeMap<String, String>) -> usize {
    attributes.iter().map(|(key, value)| key.len() + value.len()).sum()
}

fn cut(action: Cow<'static, str>) -> Cow<'static, str> {
    match action {
        Cow::Owned(mut text) if text.len() > ACTION => {
            text.truncate(text.floor_char_boundary(ACTION));
            text.push('…');
            Cow::Owned(text)
        }
        action => action,
    }
}

/// Whether all of it can be told.
pub(crate) fn fits(attributes: &BTreeMap<String, String>) -> bool {
    length(attributes) <= ATTRIBUTES
}

/// What is short (names, codes, most labels) stays.
fn bounded(attributes: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if fits(&attributes) {
        return attributes;
    }
    let mut all: Vec<_> = attributes.into_iter().collect();
    all.sort_by_key(|(key, value)| key.len() + value.len());
    let mut room = ATTRIBUTES;
    let fits = |(key, value): &(String, String)| {
        let left = room.checked_sub(key.len() + value.len());
        room = left.unwrap_or(0);
        left.is_some()
    };
    all.into_iter().take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_however_much_senders_have_to_say() {
        let bus = EventBus::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        let labels = || (0..100).map(|index| (format!("label-{index}"), "x".repeat(100 << 10)));
        for _ in 0..2 * REMEMBERED {
            let mut attributes: BTreeMap<_, _> = labels().collect();
            attributes.insert("name".to_owned(), "web".to_owned());
            attributes.extend((0..100).map(|index| (format!("long-{index}"), "y".repeat(1000))));
            bus.emit(EventKind::Container, "exec_create: é".repeat(10_000), "id", attributes);
        }
        let (past, _) = bus.subscribe(Some(Timestamp::UNIX_EPOCH));
        let bytes: usize = past.iter().map(|event| size(event)).sum();
        assert!(bytes <= REMEMBERED_BYTES && past.len() > 100, "{bytes} bytes in {}", past.len());
        let last = past.last().expect("an event");
        assert_eq!(last.attributes.get("name").map(String::as_str), Some("web"));
        assert!(last.attributes.len() > 10 && length(&last.attributes) <= ATTRIBUTES);
        assert!(last.action.ends_with('…') && last.action.len() < ACTION + 8);
        let expected: usize = past.iter().map(|event| size(event)).sum();
        assert_eq!(bus.state.lock().bytes, expected);
    }

    #[test]
    fn an_ordinary_event_is_told_whole() {
        let bus = EventBus::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        let attributes: BTreeMap<_, _> =
            (0..50).map(|index| (format!("com.example.{index}"), "value".to_owned())).collect();
        bus.emit(EventKind::Container, "start", "id", attributes.clone());
        let (past, _) = bus.subscribe(Some(Timestamp::UNIX_EPOCH));
        assert_eq!((&past[0].attributes, &*past[0].action), (&attributes, "start"));
    }
}

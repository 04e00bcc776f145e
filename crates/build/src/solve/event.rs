//! What a build tells while it goes on: kept, so that whoever looks later hears all of it.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use futures::stream::{self, Stream};
use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a job tells; ends when the job is closed.
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// So much of what a step writes is passed on, as with BuildKit.
const LOG_MAX: u64 = 2 << 20;
/// So much is kept of one job: a build that tells more is not told whole to who comes late.
const KEPT_MAX: usize = 64 << 20;

/// Something that a build tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A vertex is known, has begun or has ended. Each replaces what was told of the vertex before.
    Vertex(VertexEvent),
    /// How far a part of a vertex has come. Each replaces what was told of the same part.
    Status(StatusEvent),
    /// What a step writes.
    Log(LogEvent),
    /// Something that its author should know.
    Warning(WarningEvent),
}

/// See [`Event::Vertex`].
#[derive(Clone, Debug, PartialEq)]
pub struct VertexEvent {
    /// Its digest in the definition.
    pub digest: Digest,
    /// Those that it stands on.
    pub inputs: Vec<Digest>,
    /// What it is called: `[stage 2/5] RUN …`.
    pub name: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
    /// Nothing was done, as it was done before.
    pub cached: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// What it is shown under.
    pub progress_group: Option<ProgressGroup>,
}

/// Vertices that are shown as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressGroup {
    /// Which.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Whether it is shown only if something of it is done.
    pub weak: bool,
}

/// See [`Event::Status`].
#[derive(Clone, Debug, PartialEq)]
pub struct StatusEvent {
    /// The part: `extracting sha256:…`, `transferring context:`.
    pub id: String,
    /// The vertex that it is of.
    pub vertex: Digest,
    /// What it is called, where that is not its id.
    pub name: String,
    /// How far it is, in bytes.
    pub current: u64,
    /// How far it is to come; 0 where nobody knows.
    pub total: u64,
    /// When this was so.
    pub at: Timestamp,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub completed: Option<Timestamp>,
}

/// See [`Event::Log`].
#[derive(Clone, Debug, PartialEq)]
pub struct LogEvent {
    /// The vertex that it is of.
    pub vertex: Digest,
    /// 1 is the standard output, 2 that of errors.
    pub stream: u32,
    /// What was written.
    pub bytes: Bytes,
    /// When.
    pub at: Timestamp,
}

/// See [`Event::Warning`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WarningEvent {
    /// The vertex that it is about, if it is about one.
    pub vertex: Option<Digest>,
    /// 1 is a warning, higher is less.
    pub level: i64,
    /// In one line.
    pub short: String,
    /// The rest.
    pub detail: Vec<String>,
    /// Where one can read more.
    pub url: String,
    /// The file that it is about.
    pub source: Option<WarningSource>,
}

/// Where in which file a warning is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WarningSource {
    /// What the file is called.
    pub filename: String,
    /// What is in it.
    pub data: Vec<u8>,
    /// The language that it is in.
    pub language: String,
    /// First and last line of each part that is meant, from 1.
    pub lines: Vec<(u32, u32)>,
}

/// All that a job has told. Cheap to clone: all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct EventLog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kept: Mutex<Kept>,
    /// How much has been told, and whether that is all.
    told: watch::Sender<(u64, bool)>,
}

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    events: BTreeMap<u64, Event>,
    /// Where the last is of what replaces another.
    statuses: HashMap<(Digest, String), u64>,
    /// Bytes that steps have written.
    logged: HashMap<Digest, u64>,
    bytes: usize,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(Inner { kept: Mutex::default(), told: watch::Sender::new((0, false)) }) }
    }

    /// Tells something to all who listen.
    pub(crate) fn tell(&self, event: Event) {
        let mut kept = self.inner.kept.lock();
        let Some(event) = kept.clipped(event) else { return };
        let at = kept.next;
        kept.next += 1;
        if let Event::Status(status) = &event {
            let replaced = kept.statuses.insert((status.vertex.clone(), status.id.clone()), at);
            if let Some(replaced) = replaced {
                kept.events.remove(&replaced);
            }
        }
        if let Event::Log(log) = &event {
            kept.bytes += log.bytes.len();
        }
        kept.events.insert(at, event);
        while kept.bytes > KEPT_MAX {
            let first = kept.events.iter().find_map(|(at, event)| match event {
                Event::Log(log) => Some((*at, log.bytes.len())),
                _ => None,
            });
            let Some((first, length)) = first else { break };
            kept.events.remove(&first);
            kept.bytes -= length;
        }
        let next = kept.next;
        drop(kept);
        self.inner.told.send_modify(|told| told.0 = next);
    }

    /// That is all.
    pub(crate) fn close(&self) {
        self.inner.told.send_modify(|told| told.1 = true);
    }

    /// All that is told, from the beginning.
    pub(crate) fn stream(&self) -> EventStream {
        let (inner, told) = (Arc::clone(&self.inner), self.inner.told.subscribe());
        Box::pin(stream::unfold((inner, told, 0), |(inner, mut told, from)| async move {
            loop {
                let (_, closed) = *told.borrow_and_update();
                let next = {
                    let kept = inner.kept.lock();
                    kept.events.range(from..).next().map(|(at, event)| (*at, event.clone()))
                };
                if let Some((at, event)) = next {
                    return Some((event, (inner, told, at + 1)));
                }
                if closed || told.changed().await.is_err() {
                    return None;
                }
            }
        }))
    }
}

impl Kept {
    /// What is passed on of an event: of what a step writes only the beginning is.
    fn clipped(&mut self, event: Event) -> Option<Event> {
        let Event::Log(log) = event else { return Some(event) };
        let logged = self.logged.entry(log.vertex.clone()).or_default();
        let before = *logged;
        *logged += log.bytes.len() as u64;
        if before > LOG_MAX {
            return None;
        }
        if *logged <= LOG_MAX {
            return Some(Event::Log(log));
        }
        *logged = LOG_MAX + 1;
        let room = usize::try_from(LOG_MAX - before).unwrap_or_default();
        let mut bytes = log.bytes[..room.min(log.bytes.len())].to_vec();
        bytes.extend_from_slice(b"\n[output clipped, log limit 2MiB reached]\n");
        Some(Event::Log(LogEvent { bytes: bytes.into(), ..log }))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256_of(text.as_bytes())
    }

    fn log(bytes: Vec<u8>) -> Event {
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        Event::Log(LogEvent { vertex: digest("a"), stream: 1, bytes: bytes.into(), at })
    }

    fn status(current: u64) -> Event {
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        Event::Status(StatusEvent {
            id: "part".to_owned(),
            vertex: digest("a"),
            name: String::new(),
            current,
            total: 0,
            at,
            started: None,
            completed: None,
        })
    }

    #[tokio::test]
    async fn who_comes_late_hears_all_and_the_last_of_what_is_replaced() {
        let events = EventLog::new();
        let early = events.stream();
        events.tell(log(b"one".to_vec()));
        events.tell(status(1));
        events.tell(status(2));
        events.close();
        let late: Vec<Event> = events.stream().collect().await;
        assert_eq!(late, [log(b"one".to_vec()), status(2)]);
        assert_eq!(early.collect::<Vec<_>>().await, late);
    }

    #[tokio::test]
    async fn of_a_step_that_writes_without_end_the_beginning_is_told() {
        let events = EventLog::new();
        for _ in 0..5 {
            events.tell(log(vec![b'x'; 1 << 20]));
        }
        events.close();
        let told: Vec<Event> = events.stream().collect().await;
        let length = |event: &Event| if let Event::Log(log) = event { log.bytes.len() } else { 0 };
        let whole: usize = told.iter().map(length).sum();
        assert_eq!(told.len(), 3);
        assert!(whole > 2 << 20 && whole < (2 << 20) + 100, "{whole}");
    }
}

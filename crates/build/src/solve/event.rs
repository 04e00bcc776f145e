//! What a build tells while it goes on: kept, so that whoever looks later hears all of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use base::Timestamp;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::watch;

/// What a job tells; ends when the job is closed.
pub type EventStream = Pin<Box<dyn Stream<Item = Event> + Send>>;

/// So much of what a step writes is passed on, as with BuildKit.
const LOG_MAX: u64 = 2 << 20;
/// So much is kept of one job, with what keeping it costs: a build that tells more is not told whole to who comes
/// late.
const KEPT_MAX: usize = 64 << 20;
/// What keeping an event costs besides what it says.
const EVENT: usize = 300;
/// What keeping a digest in a list costs.
const DIGEST: usize = 100;
/// What is written piece by piece is kept in pieces of this length, as far as nobody has heard it yet.
const JOINED_MAX: usize = 16 << 10;
/// So many warnings are passed on of one job, and so many bytes of them.
const WARNINGS_MAX: usize = 1000;
const WARNED_MAX: usize = 16 << 20;

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
    /// Where those are that go first when there is too much: what steps have written.
    logs: BTreeSet<u64>,
    /// What is before this somebody has heard.
    heard: u64,
    /// Where the last is of what replaces another.
    statuses: HashMap<(Digest, String), u64>,
    /// Bytes that steps have written.
    logged: HashMap<Digest, u64>,
    /// How many warnings there were, and their bytes.
    warned: (usize, usize),
    /// What all that is kept takes.
    weight: usize,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::new(Inner { kept: Mutex::default(), told: watch::Sender::new((0, false)) }) }
    }

    /// Tells something to all who listen.
    pub(crate) fn tell(&self, event: Event) {
        let mut kept = self.inner.kept.lock();
        let Some(event) = kept.clipped(event) else { return };
        kept.put(event);
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
                    let mut kept = inner.kept.lock();
                    let next = kept.events.range(from..).next().map(|(at, event)| (*at, event.clone()));
                    if let Some((at, _)) = &next {
                        kept.heard = kept.heard.max(at + 1);
                    }
                    next
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
    /// Keeps an event, and as much of what was before as there is room for.
    fn put(&mut self, event: Event) {
        let event = match event {
            Event::Log(log) => match self.joined(log) {
                Some(log) => Event::Log(log),
                None => return,
            },
            other => other,
        };
        let at = self.next;
        self.next += 1;
        match &event {
            Event::Status(status) => {
                let replaced = self.statuses.insert((status.vertex.clone(), status.id.clone()), at);
                if let Some(replaced) = replaced {
                    self.take(replaced);
                }
            }
            Event::Log(_) => drop(self.logs.insert(at)),
            Event::Vertex(_) | Event::Warning(_) => {}
        }
        self.weight += weight(&event);
        self.events.insert(at, event);
        while self.weight > KEPT_MAX {
            let first = self.logs.first().or_else(|| self.events.keys().next()).copied();
            let Some(first) = first else { break };
            if let Some(Event::Status(status)) = self.take(first) {
                self.statuses.remove(&(status.vertex, status.id));
            }
        }
    }

    fn take(&mut self, at: u64) -> Option<Event> {
        let taken = self.events.remove(&at)?;
        self.logs.remove(&at);
        self.weight -= weight(&taken);
        Some(taken)
    }

    /// Puts what is written to the last that was, if that is of the same and nobody has heard it; gives it back if it
    /// is not.
    fn joined(&mut self, log: LogEvent) -> Option<LogEvent> {
        let heard = self.heard;
        let Some(mut last) = self.events.last_entry().filter(|last| *last.key() >= heard) else {
            return Some(log);
        };
        let Event::Log(before) = last.get_mut() else { return Some(log) };
        let is_same = (&before.vertex, before.stream) == (&log.vertex, log.stream);
        if !is_same || before.bytes.len() + log.bytes.len() > JOINED_MAX {
            return Some(log);
        }
        let mut bytes = BytesMut::from(std::mem::take(&mut before.bytes));
        bytes.extend_from_slice(&log.bytes);
        before.bytes = bytes.freeze();
        self.weight += log.bytes.len();
        None
    }

    /// What is passed on of an event: of what a step writes only the beginning is, and so many warnings.
    fn clipped(&mut self, event: Event) -> Option<Event> {
        if matches!(event, Event::Warning(_)) {
            let (count, bytes) = (self.warned.0 + 1, self.warned.1 + weight(&event));
            if count > WARNINGS_MAX || bytes > WARNED_MAX {
                return None;
            }
            self.warned = (count, bytes);
        }
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

/// What keeping an event takes.
fn weight(event: &Event) -> usize {
    let said: usize = match event {
        Event::Vertex(vertex) => {
            let group = vertex.progress_group.as_ref().map_or(0, |group| group.id.len() + group.name.len());
            let inputs = vertex.inputs.len() * DIGEST;
            vertex.name.len() + vertex.error.as_ref().map_or(0, String::len) + group + inputs
        }
        // Its name is kept twice.
        Event::Status(status) => 2 * status.id.len() + status.name.len() + EVENT,
        Event::Log(log) => log.bytes.len(),
        Event::Warning(warning) => {
            let detail: usize = warning.detail.iter().map(|line| line.len() + size_of::<String>()).sum();
            let source = warning.source.as_ref().map_or(0, |source| {
                let lines = source.lines.len() * size_of::<(u32, u32)>();
                source.filename.len() + source.data.len() + source.language.len() + lines
            });
            warning.short.len() + warning.url.len() + detail + source
        }
    };
    EVENT + said
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt};

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

    fn told(events: &EventLog) -> Vec<Event> {
        events.close();
        events.stream().collect::<Vec<_>>().now_or_never().expect("all is told")
    }

    #[test]
    fn what_is_kept_is_bounded_whatever_it_is() {
        let name = |at: usize| format!("{at} {}", "x".repeat(1 << 20));
        let vertex = |at: usize| {
            Event::Vertex(VertexEvent {
                digest: digest(&at.to_string()),
                inputs: Vec::new(),
                name: name(at),
                started: None,
                completed: None,
                cached: false,
                error: None,
                progress_group: None,
            })
        };
        let part = |at: usize| match status(1) {
            Event::Status(status) => Event::Status(StatusEvent { id: name(at), ..status }),
            other => other,
        };
        let warning = |at: usize| Event::Warning(WarningEvent { short: name(at), ..WarningEvent::default() });
        let makers: [(&dyn Fn(usize) -> Event, usize); 3] = [(&vertex, 63), (&part, 31), (&warning, 15)];
        for (make, most) in makers {
            let events = EventLog::new();
            events.tell(log(b"first".to_vec()));
            (0..100).for_each(|at| events.tell(make(at)));
            let kept = events.inner.kept.lock().weight;
            let told = told(&events);
            assert_eq!(kept, told.iter().map(weight).sum::<usize>());
            assert!(kept <= KEPT_MAX);
            let is_log = |event: &&Event| matches!(event, Event::Log(_));
            assert_eq!(told.iter().filter(|event| !is_log(event)).count(), most, "{:?}", told.len());
        }
        // Of what says little so many are no more than others.
        let events = EventLog::new();
        (0..1001).for_each(|_| events.tell(Event::Warning(WarningEvent::default())));
        assert_eq!(told(&events).len(), WARNINGS_MAX);
        let events = EventLog::new();
        // None of them is joined: another's stands between.
        let (vertices, Event::Log(one)) = (["a", "b"].map(digest), log(b"x".to_vec())) else {
            unreachable!()
        };
        for at in 0..250_000 {
            events.tell(Event::Log(LogEvent { vertex: vertices[at % 2].clone(), ..one.clone() }));
        }
        let kept = events.inner.kept.lock();
        assert!(kept.weight <= KEPT_MAX && kept.events.len() <= KEPT_MAX / EVENT && kept.events.len() > 1000);
    }

    #[tokio::test]
    async fn what_nobody_has_heard_is_told_in_one_piece() {
        let events = EventLog::new();
        let mut early = events.stream();
        events.tell(log(b"one ".to_vec()));
        assert_eq!(early.next().await, Some(log(b"one ".to_vec())));
        (0..3).for_each(|_| events.tell(log(b"two ".to_vec())));
        events.tell(status(1));
        events.tell(log(b"three".to_vec()));
        let rest = [log(b"two two two ".to_vec()), status(1), log(b"three".to_vec())];
        assert_eq!(told(&events)[1..], rest);
        assert_eq!(early.collect::<Vec<_>>().await, rest);
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

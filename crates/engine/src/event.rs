//! What happened: a stream of events with a short memory.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::Pin;

use base::Timestamp;
use futures::Stream;

use crate::engine::Engine;
use crate::error::Result;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When; no two events have the same time.
    pub at: Timestamp,
    /// To what kind of thing.
    pub kind: EventKind,
    /// What: `create`, `start`, `die`, `health_status: healthy`, `exec_create: sh`, `pull` …
    pub action: Cow<'static, str>,
    /// The thing's id; the name for volumes, the reference for images.
    pub id: String,
    /// What else is known: name, image, labels, `exitCode`, `signal`, `container` …
    pub attributes: BTreeMap<String, String>,
}

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A volume.
    Volume,
    /// A network.
    Network,
    /// A sandbox that was made as such.
    Sandbox,
}

impl EventKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EventKind::Container => "container",
            EventKind::Image => "image",
            EventKind::Volume => "volume",
            EventKind::Network => "network",
            EventKind::Sandbox => "sandbox",
        }
    }
}

/// Which events to see: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Also remembered ones, from this time on.
    pub since: Option<Timestamp>,
    /// Ends at this time; without `since` and in the past it gives nothing.
    pub until: Option<Timestamp>,
    /// One of.
    pub kinds: Vec<EventKind>,
    /// Actions, one of; `health_status` matches `health_status: healthy`.
    pub actions: Vec<String>,
    /// Containers, one of, by id, prefix or name.
    pub containers: Vec<String>,
    /// Images, one of.
    pub images: Vec<String>,
    /// Volumes, one of.
    pub volumes: Vec<String>,
    /// Networks, one of, by id or name.
    pub networks: Vec<String>,
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
}

/// Events in order. A reader that is too slow gets an error and must begin anew.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;

impl Engine {
    /// Subscribes to events: nothing that happens after this call is missed.
    pub fn events(&self, query: EventQuery) -> EventStream {
        let _ = query;
        todo!()
    }
}

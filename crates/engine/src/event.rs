//! What happened: a stream of events with a short memory.

mod bus;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use futures::{Stream, StreamExt};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filter;

pub(crate) use bus::{EventBus, fits};

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
    /// What else is known: name, image, labels, `exitCode`, `signal`, `container` … Where that is more
    /// than 16 KiB the longest are left out.
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
    /// What builds keep.
    Builder,
    /// The daemon itself.
    Daemon,
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
            EventKind::Builder => "builder",
            EventKind::Daemon => "daemon",
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
    /// Tells that the daemon has read its configuration anew; `settings` are what it found.
    pub fn tell_reload(&self, settings: BTreeMap<String, String>) {
        let mut attributes = settings;
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        attributes.insert("name".to_owned(), name);
        self.inner.events.emit(EventKind::Daemon, "reload", &self.inner.id, attributes);
    }

    /// Subscribes to events: nothing that happens after this call is missed.
    pub fn events(&self, query: EventQuery) -> EventStream {
        let (past, receiver) = self.inner.events.subscribe(query.since);
        let now = self.inner.clock.now();
        let closing = self.inner.closing.clone();
        let wait = query.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        // What lies too far ahead never comes.
        let until = wait.and_then(|wait| Instant::now().checked_add(wait));
        let feed = Feed { query, past: past.into(), receiver, until, is_over: false };
        Box::pin(futures::stream::unfold(feed, Feed::next).take_until(closing.cancelled_owned()))
    }
}

/// What one subscriber still has to see.
struct Feed {
    query: EventQuery,
    past: VecDeque<Arc<Event>>,
    receiver: broadcast::Receiver<Arc<Event>>,
    /// When nothing more is waited for.
    until: Option<Instant>,
    is_over: bool,
}

impl Feed {
    /// The next event; after the end, those that happened before and were not read so far.
    async fn coming(&mut self) -> Result<Arc<Event>, broadcast::error::RecvError> {
        use broadcast::error::{RecvError, TryRecvError};

        let until = self.until;
        let over = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        if !self.is_over {
            tokio::select! {
                biased;
                event = self.receiver.recv() => return event,
                () = over => self.is_over = true,
            }
        }
        self.receiver.try_recv().map_err(|error| match error {
            TryRecvError::Lagged(missed) => RecvError::Lagged(missed),
            TryRecvError::Empty | TryRecvError::Closed => RecvError::Closed,
        })
    }

    async fn next(mut self) -> Option<(Result<Event>, Self)> {
        loop {
            let event = match self.past.pop_front() {
                Some(event) => event,
                None => match self.coming().await {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        let error = Error::unavailable(format!(
                            "{missed} events were missed: the reader is too slow"
                        ));
                        return Some((Err(error), self));
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            };
            if self.query.until.is_some_and(|until| event.at > until) {
                return None;
            }
            if self.query.admits(&event) {
                return Some((Ok(Event::clone(&event)), self));
            }
        }
    }
}

impl EventQuery {
    /// Whether `event` is one of those asked for.
    fn admits(&self, event: &Event) -> bool {
        let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
        let names = |wanted: &[String], kind: EventKind, key: &str| {
            wanted.is_empty()
                || wanted.iter().any(|wanted| {
                    let of_kind = event.kind == kind
                        && (event.id.starts_with(wanted.as_str()) || attribute("name") == Some(wanted));
                    of_kind || attribute(key).is_some_and(|value| value.starts_with(wanted.as_str()))
                })
        };
        (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.actions.is_empty()
                || self.actions.iter().any(|wanted| action_matches(wanted, &event.action)))
            && names(&self.containers, EventKind::Container, "container")
            && names(&self.images, EventKind::Image, "image")
            && names(&self.volumes, EventKind::Volume, "volume")
            && names(&self.networks, EventKind::Network, "network")
            && self.labels.iter().all(|wanted| filter::label_matches(wanted, &event.attributes))
    }
}

fn action_matches(wanted: &str, action: &str) -> bool {
    action.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happened_until_then_is_told_however_late_it_is_read() {
        let event = |second: i64| {
            Arc::new(Event {
                at: Timestamp::from_second(second).expect("a time"),
                kind: EventKind::Image,
                action: "create".into(),
                id: String::new(),
                attributes: BTreeMap::new(),
            })
        };
        let (sender, receiver) = broadcast::channel(8);
        for second in [3, 4, 9] {
            sender.send(event(second)).expect("somebody listens");
        }
        let query = EventQuery { until: Some(event(5).at), ..EventQuery::default() };
        let past = [event(1), event(2)].into();
        let feed = Feed { query, past, receiver, until: Some(Instant::now()), is_over: false };
        let told: Vec<i64> = futures::stream::unfold(feed, Feed::next)
            .map(|event| event.expect("an event").at.as_second())
            .collect()
            .await;
        assert_eq!(told, [1, 2, 3, 4]);
        // And nothing is waited for.
        let receiver = sender.subscribe();
        let (query, past) = (EventQuery::default(), VecDeque::new());
        let feed = Feed { query, past, receiver, until: Some(Instant::now()), is_over: false };
        assert!(feed.next().await.is_none());
    }

    fn check(query: EventQuery, expected: bool) {
        let attributes = [("name", "web"), ("image", "nginx"), ("tier", "front")];
        let event = Event {
            at: Timestamp::UNIX_EPOCH,
            kind: EventKind::Container,
            action: "health_status: healthy".into(),
            id: "abc123".to_owned(),
            attributes: attributes.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        };
        assert_eq!(query.admits(&event), expected);
    }

    fn one(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn a_query_admits_only_what_meets_all_its_conditions() {
        check(EventQuery::default(), true);
        check(EventQuery { containers: one("web"), labels: one("tier=front"), ..Default::default() }, true);
        check(EventQuery { containers: one("web"), labels: one("tier=back"), ..Default::default() }, false);
        check(EventQuery { containers: one("abc"), ..Default::default() }, true);
        check(EventQuery { containers: one("db"), ..Default::default() }, false);
        check(EventQuery { kinds: vec![EventKind::Image], ..Default::default() }, false);
        check(EventQuery { images: one("nginx"), ..Default::default() }, true);
    }

    #[test]
    fn an_action_is_matched_by_its_name_without_its_detail() {
        check(EventQuery { actions: one("health_status"), ..Default::default() }, true);
        check(EventQuery { actions: one("health_status: healthy"), ..Default::default() }, true);
        check(EventQuery { actions: one("health"), ..Default::default() }, false);
    }
}

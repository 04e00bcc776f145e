//! Following a collection.
//!
//! A watcher is a position and a selection. It reads those of the partition's changes that can concern it
//! from its position on, sends them, and sleeps until there are more of those; nothing is queued for it but
//! what is being sent. Where it is to tell first what there is, it holds references to that until it has
//! told it.

mod past;
mod served;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use http::{Response, StatusCode, header};
use model::shared::Told;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::body::Body;
use crate::cache::{Change, Follower, Stored, frame, frame_with};
use crate::call::{Call, json_response};
use crate::error::{Error, Result};
use crate::fairness::Watching;
use crate::meters::WatchMeter;
use crate::negotiate::View;
use crate::protobuf::encode;
use crate::render::Form;
use crate::request::ListOptions;
use crate::selection::Selection;
use crate::share::{self, SOME};
use crate::style::{Document, Style};
use crate::table::{ListMetadata, table};
use crate::version::{is_known, revision_of, version_at};

use past::Past;

pub(crate) use past::Room;

/// A watch whose client names no end gets one between this and its double.
const LONGEST: Duration = Duration::from_secs(1800);
/// How often a client is told how far it has come.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Lines are sent together up to about this size.
const BATCH: usize = 64 << 10;
/// So many changes are looked at before others get their turn.
const CHANGES: usize = 64;

struct Watcher {
    call: Call,
    selection: Arc<Selection>,
    /// The changes that may be told.
    follower: Follower,
    /// What is to be told first, as it was at `position`.
    initial: std::vec::IntoIter<Arc<Stored>>,
    /// The end of that is to be told, too.
    initial_end: bool,
    began: Instant,
    /// All changes up to here have been told.
    position: u64,
    /// Where it is in the store's history, while it is behind what memory holds.
    past: Option<Past>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    lines: Lines,
    over: bool,
    /// The resource is not what it was.
    retired: CancellationToken,
    /// One of those who are told of changes.
    _watching: Watching,
}

/// Writes lines, and holds those that are still to be sent.
struct Lines {
    form: Form,
    /// Objects are told as they are stored.
    shares: bool,
    columns_told: bool,
    written: Written,
    meter: WatchMeter,
}

/// What is to be sent: text, or what is told where objects are shared.
#[derive(Default)]
struct Written {
    text: BytesMut,
    told: Vec<Told>,
}

pub(super) async fn handle(mut call: Call) -> Result<Response<Body>> {
    let options = ListOptions::parse(&call.query)?;
    let selection = Arc::new(Selection::parse(&call, &options)?);
    let revision = options.revision()?.unwrap_or(0);
    if revision > 0 {
        super::list::wait_until_visible(&call.state, revision).await?;
    }
    let now = Instant::now();
    let spread = call.state.random.next_u64() % LONGEST.as_secs();
    let longest = options.timeout.unwrap_or(LONGEST + Duration::from_secs(spread));
    let partition = call.partition();
    let follower = partition.follow(selection.interest(&call.resource));
    let (mut initial, mut position) = (Vec::new(), revision);
    let begins = options.initial_events.unwrap_or(revision == 0);
    if begins {
        let (all, at) = partition.snapshot(call.state.cache.revision(), selection.names());
        position = at;
        // What is to be converted is looked at when it is told.
        let at_once = call.resource.storage.served.is_none();
        initial = if at_once { selection.find(&call, all, 0).await?.objects } else { all };
    } else if revision == 0 {
        position = call.state.cache.revision().max(partition.last());
    } else if call.resource.storage.is_passing.is_some() && call.state.store.is_shared() {
        // Another server may have given it to something in its memory, though this one has given it too:
        // what this one has there may be missing.
        position = version_at(revision_of(revision));
    }
    let form = Form { resource: call.resource.clone(), view: call.view, style: Style::Short, now: call.now };
    let meter = call.state.meters.watch(&call.resource);
    if initial.is_empty() {
        call.place = None;
    }
    let name = selection.only().map(|key| key.rsplit('/').next().unwrap_or(key));
    let watching = call.state.fairness.watches.enter(&call.target, name.unwrap_or_default());
    let mut watcher = Watcher {
        follower,
        selection,
        initial: initial.into_iter(),
        initial_end: options.initial_events == Some(true) && options.bookmarks,
        began: now,
        position,
        past: None,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK,
        deadline: now + longest,
        lines: Lines { form, shares: call.shares(), columns_told: false, written: Written::default(), meter },
        over: false,
        retired: call.resource.retired.as_deref().cloned().unwrap_or_default(),
        _watching: watching,
        call,
    };
    if !begins && revision > 0 && !is_known(revision) {
        let oldest = watcher.call.state.cache.revision();
        watcher.fail(&past::expired(revision, oldest));
    }
    let (shares, view, place) = (watcher.call.shares(), watcher.call.view, watcher.call.place.clone());
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|lines| (lines, watcher))
    });
    let mut response = if shares {
        share::respond(stream.map(|lines| lines.told))
    } else {
        let mut response =
            json_response(StatusCode::OK, Body::stream(stream.map(|lines| lines.text.freeze())));
        if view.is_protobuf() {
            response.headers_mut().insert(header::CONTENT_TYPE, view.media_type(true));
            response.extensions_mut().remove::<Document>();
        }
        response
    };
    if let Some(place) = place {
        response.body_mut().hold(place);
    }
    Ok(response)
}

impl Watcher {
    async fn next(&mut self) -> Option<Written> {
        loop {
            if !self.lines.written.is_empty() {
                // Taken as a whole: a watch that waits keeps no buffer.
                return Some(std::mem::take(&mut self.lines.written));
            }
            if self.over {
                return None;
            }
            // Looked at whatever there is to tell: there may always be more.
            if self.call.state.stop.is_cancelled() || self.retired.is_cancelled() {
                return None;
            }
            if Instant::now() >= self.deadline {
                self.end();
                continue;
            }
            if self.initial.len() > 0 {
                if self.call.resource.storage.served.is_some() {
                    Box::pin(self.tell_initial_served()).await;
                } else {
                    self.tell_initial().await;
                }
                continue;
            }
            // From here on it waits, instead of working.
            self.settle();
            if std::mem::take(&mut self.initial_end) {
                // Its memory is given back: a watch lives for long.
                self.initial = Vec::new().into_iter();
                self.bookmark(true);
                let meters = &self.call.state.meters.uses;
                meters.watch_list(&self.call.resource, self.scope(), self.began.elapsed());
                continue;
            }
            self.follower.mark_unchanged();
            // Read before the changes: whatever is visible by now is among them.
            let visible = self.call.state.cache.revision();
            match self.follower.changes(self.position, CHANGES) {
                Err(gap) => {
                    if let Err(error) = self.tell_past(gap.oldest).await {
                        self.fail(&error);
                    }
                    continue;
                }
                Ok(changes) => {
                    self.past = None;
                    // Those that do not fit into a batch are read again; one revision is never cut.
                    let mut rest = changes.iter().peekable();
                    let mut whole_at = self.lines.written.place();
                    while let Some(change) = rest.next() {
                        if self.call.resource.storage.served.is_none() {
                            self.tell(change);
                        } else if !Box::pin(self.tell_served(change, whole_at)).await {
                            break;
                        }
                        let whole = rest.peek().is_none_or(|next| next.revision != change.revision);
                        if whole {
                            self.position = self.position.max(change.revision);
                            whole_at = self.lines.written.place();
                            let waits = rest.peek().is_some_and(|next| self.waits_for(next));
                            if waits || self.lines.written.len() >= BATCH {
                                break;
                            }
                        }
                    }
                    if self.over || rest.peek().is_some() || changes.len() >= CHANGES {
                        tokio::task::coop::consume_budget().await;
                        continue;
                    }
                    self.position = self.position.max(visible);
                }
            }
            if !self.lines.written.is_empty() {
                continue;
            }
            let (stop, retired) = (self.call.state.stop.clone(), self.retired.clone());
            tokio::select! {
                goes_on = self.follower.changed() => self.over |= !goes_on,
                () = stop.cancelled() => self.over = true,
                () = retired.cancelled() => self.over = true,
                () = tokio::time::sleep_until(self.deadline) => self.end(),
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    self.position = self.position.max(self.quiet_until());
                    self.bookmark(false);
                }
            }
        }
    }

    /// What is watched, as it is counted.
    fn scope(&self) -> &'static str {
        if self.selection.only().is_some() {
            "resource"
        } else if self.call.namespace().is_empty() {
            "cluster"
        } else {
            "namespace"
        }
    }

    /// What there was has been told.
    fn settle(&mut self) {
        if let Some(place) = self.call.place.take() {
            place.release();
        }
    }

    /// Writes a batch of what there was at the beginning.
    async fn tell_initial(&mut self) {
        if self.lines.form.is_ready() {
            tokio::task::coop::consume_budget().await;
            self.lines.add(&mut self.initial);
            return;
        }
        let own = self.call.identity.is_component();
        let copy = self.lines.copy();
        let mut lines = std::mem::replace(&mut self.lines, copy);
        let mut initial = std::mem::take(&mut self.initial);
        let step = move || {
            lines.add(&mut initial);
            (lines, initial)
        };
        (self.lines, self.initial) = self.call.state.workers.step(own, step).await;
    }

    /// How far nothing has happened since the last change was read; the position where in doubt.
    fn quiet_until(&self) -> u64 {
        let visible = self.call.state.cache.revision();
        match self.follower.changes(self.position, 1) {
            Ok(changes) if changes.is_empty() => visible,
            _ => self.position,
        }
    }

    fn tell(&mut self, change: &Change) {
        let is = !change.deleted && self.selection.takes(&change.stored);
        let was = change.previous.as_ref().is_some_and(|p| self.selection.takes(p));
        let now = self.call.state.clock.now();
        match (was, is) {
            (false, false) => {}
            (true, true) => self.lines.line("MODIFIED", &change.stored, now),
            (false, true) => self.lines.line("ADDED", &change.stored, now),
            // Out of sight, though it may still be there: the client is told how it was last seen.
            (true, false) => match &change.previous {
                Some(previous) if !change.deleted => {
                    self.lines.line("DELETED", &previous.at(change.revision), now);
                }
                _ => self.lines.line("DELETED", &change.stored, now),
            },
        }
    }

    fn bookmark(&mut self, initial_end: bool) {
        let (kind, api_version) = self.call.view.object_kind(&self.call.resource);
        let mut metadata = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        self.lines.other("BOOKMARK", object.to_string().as_bytes());
    }

    fn end(&mut self) {
        self.over = true;
        // Who has not been told of everything at the beginning has not come so far.
        let begun = self.initial.len() == 0 && !self.initial_end;
        if self.bookmarks && begun {
            self.position = self.position.max(self.quiet_until());
            self.bookmark(false);
        }
    }

    fn fail(&mut self, error: &Error) {
        self.over = true;
        self.lines.other("ERROR", &error.encoded());
    }
}

impl Lines {
    /// Tells of objects that are there, a batch of them.
    fn add(&mut self, objects: &mut std::vec::IntoIter<Arc<Stored>>) {
        let now = self.form.now;
        while self.written.len() < BATCH {
            let Some(stored) = objects.next() else { return };
            self.line("ADDED", &stored, now);
        }
    }

    fn line(&mut self, kind: &'static str, stored: &Stored, now: base::Timestamp) {
        if self.shares {
            self.meter.tell(stored.len());
            self.written.told.push(Told::Object { event: kind, object: stored.encoded().clone() });
            return;
        }
        let before = self.written.text.len();
        self.text_line(kind, stored, now);
        self.meter.tell(self.written.text.len() - before);
    }

    fn text_line(&mut self, kind: &'static str, stored: &Stored, now: base::Timestamp) {
        let text = &mut self.written.text;
        let resource = &self.form.resource;
        if self.form.view.is_protobuf() {
            encode::frame(text, kind, &self.form.view.render(resource, &stored.object(), now));
            return;
        }
        let View::Table(form) = self.form.view else {
            frame_with(text, kind, stored.len(), |text| self.form.write(stored, text));
            return;
        };
        // The columns are told once; ages are as of now.
        let first = !std::mem::replace(&mut self.columns_told, true);
        let object = stored.object();
        let metadata = ListMetadata {
            resource_version: object.resource_version().to_owned(),
            ..ListMetadata::default()
        };
        let table = table(&resource.columns, [&object], &metadata, form, first, now);
        frame(text, kind, table.to_string().as_bytes());
    }

    /// Tells something that is no object of the resource.
    fn other(&mut self, kind: &str, object: &[u8]) {
        if self.form.view.is_protobuf() {
            let value: Value = serde_json::from_slice(object).unwrap_or_default();
            let document = encode::document(&value).unwrap_or_default();
            encode::frame(&mut self.written.text, kind, &document);
            return;
        }
        frame(&mut self.written.text, kind, object);
        if self.shares {
            let line = std::mem::take(&mut self.written.text).freeze();
            self.written.told.push(Told::Text(line));
        }
    }

    /// The same without what has been written.
    fn copy(&self) -> Self {
        let (form, shares, columns_told) = (self.form.clone(), self.shares, self.columns_told);
        Self { form, shares, columns_told, written: Written::default(), meter: self.meter.clone() }
    }
}

impl Written {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.told.is_empty()
    }

    /// How much it is, as a text that would be sent.
    fn len(&self) -> usize {
        self.text.len() + self.told.len() * (BATCH / SOME)
    }

    /// Where it ends now.
    fn place(&self) -> (usize, usize) {
        (self.text.len(), self.told.len())
    }

    /// Takes back what was written after a place.
    fn truncate(&mut self, (text, told): (usize, usize)) {
        self.text.truncate(text);
        self.told.truncate(told);
    }
}

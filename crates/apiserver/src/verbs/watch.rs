//! Following a collection.
//!
//! A watcher is a position and a selection. It reads the partition's changes from its position on,
//! sends them, and sleeps until there are more; nothing is queued for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use model::Status;
use serde_json::json;
use tokio::time::Instant;

use crate::body::Body;
use crate::cache::{Change, Partition, Stored, frame};
use crate::call::{Call, json_response};
use crate::error::{Error, Result};
use crate::negotiate::{View, from_stored};
use crate::request::ListOptions;
use crate::selection::Selection;
use crate::table::{ListMetadata, table};

/// A watch whose client names no end gets one between this and its double.
const LONGEST: Duration = Duration::from_secs(1800);
/// How often a client is told how far it has come.
const BOOKMARK: Duration = Duration::from_secs(60);
/// Frames are sent together up to about this size.
const BATCH: usize = 64 << 10;

struct Watcher {
    call: Call,
    selection: Selection,
    partition: Arc<Partition>,
    reached: tokio::sync::watch::Receiver<u64>,
    /// All changes up to here have been sent.
    position: u64,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ready: VecDeque<Bytes>,
    columns_told: bool,
    over: bool,
}

pub(super) async fn handle(call: Call) -> Result<Response<Body>> {
    let options = ListOptions::parse(&call.query)?;
    let selection = Selection::parse(&call, &options)?;
    let revision = options.revision()?.unwrap_or(0);
    if revision > 0 {
        super::list::wait_until_visible(&call, revision).await?;
    }
    let now = Instant::now();
    let spread = call.state.random.next_u64() % LONGEST.as_secs();
    let longest = options.timeout.unwrap_or(LONGEST + Duration::from_secs(spread));
    let partition = call.partition();
    let mut watcher = Watcher {
        reached: partition.subscribe(),
        selection,
        position: revision,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK,
        deadline: now + longest,
        ready: VecDeque::new(),
        columns_told: false,
        over: false,
        partition,
        call,
    };
    watcher.begin(&options, revision);
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        watcher.next().await.map(|bytes| (bytes, watcher))
    });
    Ok(json_response(StatusCode::OK, Body::stream(stream)))
}

impl Watcher {
    /// Sends what there is already, where the client wants that.
    fn begin(&mut self, options: &ListOptions, revision: u64) {
        let initial = options.initial_events.unwrap_or(revision == 0);
        if initial {
            let snapshot = self.partition.snapshot(
                self.call.state.cache.revision(),
                &self.selection.prefix,
                0,
                |stored| self.selection.takes(stored),
            );
            self.position = snapshot.revision;
            for stored in &snapshot.objects {
                let line = self.line("ADDED", stored);
                self.ready.push_back(line);
            }
            if options.initial_events == Some(true) && self.bookmarks {
                let line = self.bookmark(true);
                self.ready.push_back(line);
            }
        } else if revision == 0 {
            self.position = self.call.state.cache.revision().max(*self.reached.borrow());
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(batch) = self.take_ready() {
                return Some(batch);
            }
            if self.over {
                return None;
            }
            self.reached.mark_unchanged();
            // Read before the changes: whatever is visible by now is among them.
            let visible = self.call.state.cache.revision();
            match self.partition.changes(self.position) {
                Err(gap) => {
                    self.fail(
                        &Status::expired(format!(
                            "too old resource version: {} ({})",
                            self.position, gap.oldest
                        ))
                        .into(),
                    );
                    continue;
                }
                Ok(changes) => {
                    for change in &changes {
                        self.tell(change);
                    }
                    let last = changes.last().map_or(0, |c| c.revision);
                    self.position = self.position.max(last).max(visible);
                }
            }
            if !self.ready.is_empty() {
                continue;
            }
            let stop = self.call.state.stop.clone();
            tokio::select! {
                changed = self.reached.changed() => self.over |= changed.is_err(),
                () = stop.cancelled() => self.over = true,
                () = tokio::time::sleep_until(self.deadline) => self.end(),
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK;
                    self.position = self.position.max(self.settled());
                    let line = self.bookmark(false);
                    self.ready.push_back(line);
                }
            }
        }
    }

    /// How far nothing has happened since the last change was read; the position where in doubt.
    fn settled(&self) -> u64 {
        let visible = self.call.state.cache.revision();
        match self.partition.changes(self.position) {
            Ok(changes) if changes.is_empty() => visible,
            _ => self.position,
        }
    }

    fn tell(&mut self, change: &Change) {
        let is = !change.deleted && self.selection.takes(&change.stored);
        let was = change.previous.as_ref().is_some_and(|p| self.selection.takes(p));
        let line = match (was, is) {
            (false, false) => return,
            // The usual case, for which one line serves all watchers.
            (true, true) if self.is_plain() => change.frame().clone(),
            (false, true) if self.is_plain() && change.previous.is_none() => change.frame().clone(),
            (true, false) if self.is_plain() && change.deleted => change.frame().clone(),
            (true, true) => self.line("MODIFIED", &change.stored),
            (false, true) => self.line("ADDED", &change.stored),
            // Out of sight, though it may still be there: the client is told how it was last seen.
            (true, false) => match &change.previous {
                Some(previous) if !change.deleted => self.line("DELETED", &previous.at(change.revision)),
                _ => self.line("DELETED", &change.stored),
            },
        };
        self.ready.push_back(line);
    }

    fn is_plain(&self) -> bool {
        self.call.view == View::Full && self.call.resource.storage.conversion.is_none()
    }

    fn line(&mut self, kind: &str, stored: &Stored) -> Bytes {
        let resource = &self.call.resource;
        let View::Table(include) = self.call.view else {
            return frame(kind, &self.call.view.object_bytes(resource, stored, self.call.now));
        };
        // The columns are told once; ages are as of now.
        let first = !std::mem::replace(&mut self.columns_told, true);
        let object = from_stored(resource, stored);
        let metadata = ListMetadata {
            resource_version: object.resource_version().to_owned(),
            ..ListMetadata::default()
        };
        let now = self.call.state.clock.now();
        let table = table(&resource.gvk(), [&object], &metadata, include, first, now);
        frame(kind, table.to_string().as_bytes())
    }

    fn bookmark(&self, initial_end: bool) -> Bytes {
        let resource = &self.call.resource;
        let (kind, api_version) = match self.call.view {
            View::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            View::Full | View::Table(_) => (resource.kind.clone(), resource.api_version()),
        };
        let mut metadata = json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        frame("BOOKMARK", object.to_string().as_bytes())
    }

    fn end(&mut self) {
        self.over = true;
        if self.bookmarks {
            self.position = self.position.max(self.settled());
            let line = self.bookmark(false);
            self.ready.push_back(line);
        }
    }

    fn fail(&mut self, error: &Error) {
        self.over = true;
        self.ready.push_back(frame("ERROR", &error.encoded()));
    }

    fn take_ready(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        if self.ready.is_empty() {
            return Some(first);
        }
        let mut batch = BytesMut::from(&first[..]);
        while let Some(line) = self.ready.pop_front() {
            if batch.len() + line.len() > BATCH {
                self.ready.push_front(line);
                break;
            }
            batch.extend_from_slice(&line);
        }
        Some(batch.freeze())
    }
}

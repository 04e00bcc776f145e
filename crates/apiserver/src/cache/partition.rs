//! The objects of one stored resource, and their latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use model::{Encoded, Object};
use parking_lot::RwLock;
use store::{Event, EventKind, KeyValue};
use tokio::sync::watch;

use super::Stored;
use super::lanes::{Interest, Lanes};
use super::outline::Places;
use super::recent::Recent;
use crate::fairness::Held;
use crate::version::{is_in_memory, version_at};

/// How far the latest changes of one resource reach back: so many bytes, so long. Who has to go back further
/// reads the store's own history.
const HISTORY_BYTES: usize = 8 << 20;
const HISTORY_AGE: Duration = Duration::from_secs(240);
/// What a change takes besides its object's text, about.
const CHANGE: usize = 256;

/// The objects of one stored resource.
#[derive(Debug)]
pub(crate) struct Partition {
    /// Where selectors look in the objects.
    places: Arc<Places>,
    state: RwLock<State>,
    /// Tells of the revisions that the partition reaches.
    reached: watch::Sender<u64>,
    recent: Recent,
}

/// Reads the changes that can concern one watcher. Holds nothing but what they are.
#[derive(Debug)]
pub(crate) struct Follower {
    partition: Arc<Partition>,
    interest: Interest,
    /// Tells that there are more.
    reached: watch::Receiver<u64>,
}

/// One change of one object.
#[derive(Debug)]
pub(crate) struct Change {
    /// When.
    pub(crate) revision: u64,
    /// Whether the object was deleted.
    pub(crate) deleted: bool,
    /// What it is now; of a deletion, what it was last, with the deletion's revision.
    pub(crate) stored: Arc<Stored>,
    /// What it was before.
    pub(crate) previous: Option<Arc<Stored>>,
    /// When it was applied, since the start.
    at: Duration,
}

/// The latest changes do not reach back so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangesError {
    /// The oldest revision that can be gone on from.
    pub(crate) oldest: u64,
}

/// The store's history does not say what was before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownBefore;

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Stored>>,
    /// How long their texts are together.
    bytes: usize,
    /// What is there and is no object that can be read, with its revision: shown to nobody.
    unreadable: BTreeMap<Arc<str>, u64>,
    history: VecDeque<Arc<Change>>,
    /// The same changes by whom they concern.
    lanes: Lanes,
    /// What the changes hold that nothing else does, about.
    history_bytes: usize,
    /// Changes after this revision are in `history`.
    floor: u64,
    /// The last one up to that which was in memory only: no history has it.
    lost: u64,
    /// The revision of the last change, or of the last loading.
    last: u64,
}

/// What happened to the object of a name: the text that was put, none where it was deleted.
pub(super) type Happened<'a> = (&'a str, Option<Bytes>);

/// What is shown and has not been told yet.
#[must_use]
pub(super) struct News {
    revision: u64,
    /// Whom to tell besides those who look at all changes.
    concerned: Vec<Arc<watch::Sender<u64>>>,
}

/// Writes one line of a watch.
pub(crate) fn frame(lines: &mut BytesMut, kind: &str, object: &[u8]) {
    frame_with(lines, kind, object.len(), |lines| lines.extend_from_slice(object));
}

/// Writes one line of a watch, whose object has about this length and is written by `object`.
pub(crate) fn frame_with(
    lines: &mut BytesMut,
    kind: &str,
    length: usize,
    object: impl FnOnce(&mut BytesMut),
) {
    lines.reserve(length + 32);
    lines.extend_from_slice(b"{\"type\":\"");
    lines.extend_from_slice(kind.as_bytes());
    lines.extend_from_slice(b"\",\"object\":");
    object(lines);
    lines.extend_from_slice(b"}\n");
}

impl Partition {
    pub(super) fn new(places: Places, origin: u64) -> Self {
        Self {
            places: Arc::new(places),
            state: RwLock::new(State { floor: origin, last: origin, ..State::default() }),
            reached: watch::Sender::new(origin),
            recent: Recent::default(),
        }
    }

    /// An object of this partition with a text that was stored at `revision`.
    pub(crate) fn stored(&self, name: impl Into<Arc<str>>, text: Bytes, revision: u64) -> Stored {
        Stored::new(name.into(), Encoded::stored(text, revision), self.places.clone())
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// One object by `NAMESPACE/NAME` or `NAME`.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stored>> {
        self.state.read().objects.get(name).cloned()
    }

    /// One object by the same, read: quicker than to read it, where the same is asked for often.
    pub(crate) fn object(&self, name: &str) -> Option<Object> {
        self.get(name).map(|stored| self.recent.object(&stored))
    }

    /// How many objects there are, and how long their texts are together.
    pub(crate) fn held(&self) -> Held {
        let state = self.state.read();
        Held { objects: state.objects.len() as u64, bytes: state.bytes as u64 }
    }

    /// Whether the store has something of this name that cannot be read.
    pub(crate) fn is_unreadable(&self, name: &str) -> bool {
        self.state.read().unreadable.contains_key(name)
    }

    /// The objects whose names begin with `prefix`, in the order of their names, and the revision of
    /// which they are: all changes of this resource up to it are in them, none after. `applied` is a
    /// revision known to be visible.
    pub(crate) fn snapshot(&self, applied: u64, prefix: &str) -> (Vec<Arc<Stored>>, u64) {
        let state = self.state.read();
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let named = state.objects.range::<str, _>(from).take_while(|(name, _)| name.starts_with(prefix));
        let mut all = Vec::with_capacity(if prefix.is_empty() { state.objects.len() } else { 0 });
        all.extend(named.map(|(_, stored)| stored.clone()));
        (all, state.last.max(applied))
    }

    /// The objects whose names begin with `prefix` as they were at a version, in the order of their names.
    /// Only of what has changed so lately that memory knows it.
    pub(crate) fn as_of(&self, version: u64, prefix: &str) -> Result<Vec<Arc<Stored>>, ChangesError> {
        let state = self.state.read();
        if !state.knows(version) {
            return Err(ChangesError { oldest: state.floor });
        }
        let after = some_after(&state.history, state.floor, version, usize::MAX)?;
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let named = state.objects.range::<str, _>(from).take_while(|(name, _)| name.starts_with(prefix));
        let mut objects: BTreeMap<Arc<str>, Arc<Stored>> =
            named.map(|(name, stored)| (name.clone(), stored.clone())).collect();
        drop(state);
        // Undone, the latest first.
        for change in after.iter().rev().filter(|change| change.stored.name.starts_with(prefix)) {
            match &change.previous {
                Some(previous) => objects.insert(previous.name.clone(), previous.clone()),
                None => objects.remove(&change.stored.name),
            };
        }
        Ok(objects.into_values().collect())
    }

    /// The last change that neither memory has any more nor ever the store: who has not seen it has missed
    /// it.
    pub(crate) fn lost(&self) -> u64 {
        self.state.read().lost
    }

    /// The revision of the last change, or of the last loading.
    pub(crate) fn last(&self) -> u64 {
        self.state.read().last
    }

    /// All changes after a revision, and the one that they lead to; none where memory does not know them all.
    pub(crate) fn changes_after(&self, revision: u64) -> Option<(Vec<Arc<Change>>, u64)> {
        let state = self.state.read();
        let changes = some_after(&state.history, state.floor, revision, usize::MAX).ok()?;
        Some((changes, state.last))
    }

    /// Forgets changes that are too old at `now`.
    pub(super) fn trim(&self, now: Duration) {
        self.state.write().trim(now);
    }

    /// Tells of the revisions that the partition reaches.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Follows the changes of one interest.
    pub(crate) fn follow(self: &Arc<Self>, interest: Interest) -> Follower {
        let mut state = self.state.write();
        let State { lanes, history, floor, .. } = &mut *state;
        let reached = lanes.join(&interest, history, *floor).unwrap_or_else(|| self.reached.subscribe());
        drop(state);
        Follower { partition: self.clone(), interest, reached }
    }

    /// Waits until a change at `revision`, known to have happened, is visible.
    pub(crate) async fn wait_for(&self, revision: u64) {
        if *self.reached.borrow() < revision {
            // The sender lives as long as the partition: waiting ends only by reaching it.
            let _ = self.reached.subscribe().wait_for(|r| *r >= revision).await;
        }
    }

    /// Shows all changes that have the version `revision`, at once: who reads in between would take some of
    /// them for all. Whoever waits is to be [told](Self::tell).
    pub(super) fn apply(&self, changes: Vec<Happened<'_>>, revision: u64, now: Duration) -> News {
        // Made before others have to wait.
        let mut made = Vec::with_capacity(changes.len());
        for (name, put) in changes {
            made.push((name, put.map(|text| Arc::new(self.stored(name, text, revision)))));
        }
        let mut concerned = Vec::new();
        let mut state = self.state.write();
        for (name, put) in made {
            state.apply(name, put, revision, now, &mut concerned);
        }
        News { revision, concerned }
    }

    /// Wakes those who wait for what is shown.
    pub(super) fn tell(&self, news: &News) {
        for reached in news.concerned.iter().map(AsRef::as_ref).chain([&self.reached]) {
            reached.send_if_modified(|reached| {
                let is_news = news.revision > *reached;
                *reached = (*reached).max(news.revision);
                is_news
            });
        }
    }

    /// Changes an object that is at `expected` in memory only: it is at `revision` then. None where that
    /// is not after all that is shown here, or the object is not as expected.
    pub(super) fn change_in_memory(
        &self,
        name: &str,
        expected: u64,
        revision: u64,
        text: Bytes,
        now: Duration,
    ) -> Option<Arc<Stored>> {
        let mut state = self.state.write();
        if state.last >= revision || state.objects.get(name)?.revision() != expected {
            return None;
        }
        let (stored, mut concerned) = (Arc::new(self.stored(name, text, revision)), Vec::new());
        state.apply(name, Some(stored.clone()), revision, now, &mut concerned);
        drop(state);
        self.tell(&News { revision, concerned });
        Some(stored)
    }

    pub(super) fn replace(&self, found: impl Iterator<Item = Stored>, revision: u64) {
        // Made before others have to wait.
        let (mut objects, mut unreadable) = (BTreeMap::new(), BTreeMap::new());
        for stored in found {
            if stored.is_readable() {
                objects.insert(stored.name.clone(), Arc::new(stored));
            } else {
                unreadable.insert(stored.name.clone(), stored.revision());
            }
        }
        let concerned = {
            let mut state = self.state.write();
            let in_memory =
                state.history.iter().rev().map(|change| change.revision).find(|r| is_in_memory(*r));
            state.lost = state.lost.max(in_memory.unwrap_or_default());
            state.bytes = objects.values().map(|stored: &Arc<Stored>| stored.len()).sum();
            state.objects = objects;
            state.unreadable = unreadable;
            state.history = VecDeque::new();
            state.history_bytes = 0;
            state.floor = revision;
            state.last = revision;
            state.lanes.clear(revision)
        };
        for reached in concerned.iter().map(AsRef::as_ref).chain([&self.reached]) {
            reached.send_replace(revision);
        }
    }
}

impl Follower {
    /// The changes after `revision`, in order, about `most` of them: those of one revision come together.
    pub(crate) fn changes(&self, revision: u64, most: usize) -> Result<Vec<Arc<Change>>, ChangesError> {
        let state = self.partition.state.read();
        let of_lane = state.lanes.changes(&self.interest, revision, most);
        of_lane.unwrap_or_else(|| some_after(&state.history, state.floor, revision, most))
    }

    /// What has been told so far is no news any more.
    pub(crate) fn mark_unchanged(&mut self) {
        self.reached.mark_unchanged();
    }

    /// Waits for news; false if there will be none.
    pub(crate) async fn changed(&mut self) -> bool {
        self.reached.changed().await.is_ok()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.partition.state.write().lanes.leave(&self.interest);
    }
}

/// The changes after `revision`, of all after `floor`: about `most`, those of one revision together.
pub(super) fn some_after(
    changes: &VecDeque<Arc<Change>>,
    floor: u64,
    revision: u64,
    most: usize,
) -> Result<Vec<Arc<Change>>, ChangesError> {
    if revision < floor {
        return Err(ChangesError { oldest: floor });
    }
    let from = changes.partition_point(|c| c.revision <= revision);
    let mut last = 0;
    let some = changes.range(from..).enumerate().take_while(|(index, change)| {
        let goes_on = *index < most || change.revision == last;
        last = change.revision;
        goes_on
    });
    Ok(some.map(|(_, change)| change.clone()).collect())
}

impl Change {
    /// The same change of an object in another version.
    pub(crate) fn in_version(&self, stored: Arc<Stored>, previous: Option<Arc<Stored>>) -> Self {
        Self { revision: self.revision, deleted: self.deleted, stored, previous, at: self.at }
    }

    /// A change as the store's history tells it; none of what nobody can read. An error where that does not say what
    /// was before.
    ///
    /// `read` makes an object of what was stored.
    pub(crate) fn past(
        event: &Event,
        read: impl Fn(&KeyValue) -> Stored,
    ) -> Result<Option<Self>, UnknownBefore> {
        let (revision, is_put) = (version_at(event.revision()), event.kind == EventKind::Put);
        let is_first = is_put && event.kv.create_revision == event.revision();
        if event.previous.is_none() && !is_first {
            return Err(UnknownBefore);
        }
        let read = |kv: &KeyValue| Some(Arc::new(read(kv))).filter(|stored| stored.is_readable());
        let previous = event.previous.as_deref().and_then(&read);
        let (stored, deleted) = match (read(&event.kv).filter(|_| is_put), &previous) {
            (Some(stored), _) => (stored, false),
            // What can be read no more is gone for those who look.
            (None, Some(previous)) => (Arc::new(previous.at(revision)), true),
            (None, None) => return Ok(None),
        };
        Ok(Some(Self { revision, deleted, stored, previous, at: Duration::ZERO }))
    }

    /// What it holds that nothing else does, about.
    fn bytes(&self) -> usize {
        self.stored.len() + CHANGE
    }
}

impl State {
    /// Takes in what was put or, without it, a deletion; adds whom to tell besides those who look at all
    /// changes.
    fn apply(
        &mut self,
        name: &str,
        put: Option<Arc<Stored>>,
        revision: u64,
        now: Duration,
        concerned: &mut Vec<Arc<watch::Sender<u64>>>,
    ) {
        let known = self.objects.get(name);
        // After loading anew, changes that the loading has already shown come again.
        if known.is_some_and(|s| s.revision() >= revision)
            || self.unreadable.get(name).is_some_and(|at| *at >= revision)
        {
            return;
        }
        self.unreadable.remove(name);
        let put = put.filter(|stored| {
            if !stored.is_readable() {
                tracing::error!(name, "stored object cannot be read");
                self.unreadable.insert(stored.name.clone(), revision);
            }
            stored.is_readable()
        });
        let (stored, previous, deleted) = match put {
            Some(stored) => {
                let previous = self.objects.insert(stored.name.clone(), stored.clone());
                (stored, previous, false)
            }
            None => match self.objects.remove(name) {
                Some(previous) => (Arc::new(previous.at(revision)), Some(previous), true),
                None => return,
            },
        };
        let (before, after) = (previous.as_ref().map_or(0, |stored| stored.len()), stored.len());
        self.bytes = (self.bytes + if deleted { 0 } else { after }).saturating_sub(before);
        let change = Arc::new(Change { revision, deleted, stored, previous, at: now });
        self.history_bytes += change.bytes();
        concerned.append(&mut self.lanes.push(&change));
        self.history.push_back(change);
        self.last = self.last.max(revision);
        self.trim(now);
    }

    /// Whether a version is the store's, or was given here to a change in memory that is remembered.
    fn knows(&self, version: u64) -> bool {
        let at = self.history.partition_point(|change| change.revision < version);
        !is_in_memory(version) || self.history.get(at).is_some_and(|change| change.revision == version)
    }

    fn trim(&mut self, now: Duration) {
        while let Some(oldest) = self.history.front() {
            if self.history_bytes <= HISTORY_BYTES && now.saturating_sub(oldest.at) < HISTORY_AGE {
                break;
            }
            self.floor = oldest.revision;
            if is_in_memory(oldest.revision) {
                self.lost = oldest.revision;
            }
            self.history_bytes -= oldest.bytes();
            self.lanes.forget(oldest);
            self.history.pop_front();
        }
        if self.history.is_empty() {
            self.history.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests;

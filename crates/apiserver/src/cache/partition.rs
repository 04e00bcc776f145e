//! The objects of one stored resource, and their latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::RwLock;
use store::{Event, EventKind, KeyValue};
use tokio::sync::watch;

use super::Stored;
use super::lanes::{Interest, Lanes};
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
    state: RwLock<State>,
    /// Tells of the revisions that the partition reaches.
    reached: watch::Sender<u64>,
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

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Stored>>,
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

/// What happened to the object of a name, and how it reads now.
pub(super) type Happened<'a> = (EventKind, &'a str, &'a [u8]);

/// What is shown and has not been told yet.
#[must_use]
pub(super) struct News {
    revision: u64,
    /// Whom to tell besides those who look at all changes.
    concerned: Vec<Arc<watch::Sender<u64>>>,
}

/// A change that is to be shown.
enum Made<'a> {
    Put(Arc<Stored>),
    /// The object of this name is gone.
    Deleted(&'a str),
}

/// Writes one line of a watch.
pub(crate) fn frame(lines: &mut BytesMut, kind: &str, object: &[u8]) {
    lines.reserve(object.len() + 32);
    lines.extend_from_slice(b"{\"type\":\"");
    lines.extend_from_slice(kind.as_bytes());
    lines.extend_from_slice(b"\",\"object\":");
    lines.extend_from_slice(object);
    lines.extend_from_slice(b"}\n");
}

impl Partition {
    pub(super) fn new(origin: u64) -> Self {
        Self {
            state: RwLock::new(State { floor: origin, last: origin, ..State::default() }),
            reached: watch::Sender::new(origin),
        }
    }

    /// One object by `NAMESPACE/NAME` or `NAME`.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stored>> {
        self.state.read().objects.get(name).cloned()
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
    pub(super) fn apply(&self, changes: &[Happened<'_>], revision: u64, now: Duration) -> News {
        // Made before others have to wait.
        let made: Vec<Made<'_>> =
            changes.iter().map(|(kind, name, value)| Made::new(*kind, name, revision, value)).collect();
        let mut concerned = Vec::new();
        let mut state = self.state.write();
        for made in made {
            state.apply(made, revision, now, &mut concerned);
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
        value: &[u8],
        now: Duration,
    ) -> Option<Arc<Stored>> {
        let mut state = self.state.write();
        if state.last >= revision || state.objects.get(name)?.revision != expected {
            return None;
        }
        let mut concerned = Vec::new();
        state.apply(Made::new(EventKind::Put, name, revision, value), revision, now, &mut concerned);
        let stored = state.objects.get(name).cloned();
        drop(state);
        self.tell(&News { revision, concerned });
        stored
    }

    pub(super) fn replace(&self, found: impl Iterator<Item = Stored>, revision: u64) {
        // Made before others have to wait.
        let objects = found.map(|stored| (stored.name.clone(), Arc::new(stored))).collect();
        let concerned = {
            let mut state = self.state.write();
            let in_memory =
                state.history.iter().rev().map(|change| change.revision).find(|r| is_in_memory(*r));
            state.lost = state.lost.max(in_memory.unwrap_or_default());
            state.objects = objects;
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
    /// A change as the store's history tells it; none where that does not say what was before.
    ///
    /// `read` makes an object of what was stored.
    pub(crate) fn past(event: &Event, read: impl Fn(&KeyValue) -> Stored) -> Option<Self> {
        let revision = version_at(event.revision());
        let previous = event.previous.as_deref().map(|kv| Arc::new(read(kv)));
        let is_first = event.kind == EventKind::Put && event.kv.create_revision == event.revision();
        if previous.is_none() && !is_first {
            return None;
        }
        let deleted = event.kind == EventKind::Delete;
        let stored = match previous.as_ref().filter(|_| deleted) {
            Some(previous) => Arc::new(previous.at(revision)),
            None => Arc::new(read(&event.kv)),
        };
        Some(Self { revision, deleted, stored, previous, at: Duration::ZERO })
    }

    /// What it holds that nothing else does, about.
    fn bytes(&self) -> usize {
        self.stored.bytes().len() + CHANGE
    }
}

impl<'a> Made<'a> {
    fn new(kind: EventKind, name: &'a str, revision: u64, value: &[u8]) -> Self {
        match kind {
            EventKind::Put => Self::Put(Arc::new(Stored::new(name.into(), revision, value))),
            EventKind::Delete => Self::Deleted(name),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Put(stored) => &stored.name,
            Self::Deleted(name) => name,
        }
    }
}

impl State {
    /// Takes a change in; adds whom to tell besides those who look at all changes.
    fn apply(
        &mut self,
        made: Made<'_>,
        revision: u64,
        now: Duration,
        concerned: &mut Vec<Arc<watch::Sender<u64>>>,
    ) {
        let known = self.objects.get(made.name());
        // After loading anew, changes that the loading has already shown come again.
        if known.is_some_and(|s| s.revision >= revision) {
            return;
        }
        let (stored, previous, deleted) = match made {
            Made::Put(stored) => {
                let previous = self.objects.insert(stored.name.clone(), stored.clone());
                (stored, previous, false)
            }
            Made::Deleted(name) => match self.objects.remove(name) {
                Some(previous) => (Arc::new(previous.at(revision)), Some(previous), true),
                None => return,
            },
        };
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
mod tests {
    use super::*;

    fn put(partition: &Partition, revision: u64, size: usize, now: u64) {
        let value = format!("{{\"kind\":\"A\",\"metadata\":{{}},\"x\":\"{}\"}}", "x".repeat(size));
        let change = (EventKind::Put, "a", value.as_bytes());
        partition.tell(&partition.apply(&[change], revision, Duration::from_secs(now)));
    }

    fn pod(partition: &Partition, name: &str, node: &str, revision: u64) {
        let value = format!("{{\"kind\":\"Pod\",\"metadata\":{{}},\"spec\":{{\"nodeName\":\"{node}\"}}}}");
        let change = (EventKind::Put, name, value.as_bytes());
        partition.tell(&partition.apply(&[change], revision, Duration::ZERO));
    }

    fn told(follower: &Follower, after: u64) -> Vec<u64> {
        let changes = follower.changes(after, 100).expect("the history reaches so far");
        changes.iter().map(|change| change.revision).collect()
    }

    #[test]
    fn a_change_wakes_those_whom_it_can_concern_and_no_others() {
        let partition = Arc::new(Partition::new(0));
        let node = |name: &str| {
            let field = model::select::Selectable::text("spec.nodeName").indexed();
            partition.follow(Interest::Field(field, name.to_owned()))
        };
        let one = |name: &str| partition.follow(Interest::Name(name.to_owned()));
        let of = |name: &str| partition.follow(Interest::Namespace(name.to_owned()));
        pod(&partition, "a/p", "", 1);
        let mut nodes: Vec<Follower> = (0..1000).map(|number| node(&format!("n{number}"))).collect();
        let mut waiting = [node("n7"), node(""), one("a/p"), of("a"), partition.follow(Interest::All)];
        let mut others = [node("n"), one("a/q"), one("b/p"), of("b"), of("a/p"), of("")];
        let woken = |followers: &mut [Follower]| -> Vec<usize> {
            let news = followers.iter_mut().enumerate().filter_map(|(index, follower)| {
                let news = follower.reached.has_changed().expect("the partition is there");
                follower.mark_unchanged();
                news.then_some(index)
            });
            news.collect()
        };
        // Out of one selection and into another.
        pod(&partition, "a/p", "n7", 2);
        assert_eq!(woken(&mut nodes), [7]);
        assert_eq!(woken(&mut waiting), [0, 1, 2, 3, 4]);
        assert!(woken(&mut others).is_empty());
        for (number, follower) in nodes.iter().enumerate() {
            assert_eq!(told(follower, 1), if number == 7 { vec![2] } else { vec![] }, "n{number}");
        }
        assert_eq!(
            waiting.iter().map(|follower| told(follower, 0)).collect::<Vec<_>>(),
            [vec![2], vec![1, 2], vec![1, 2], vec![1, 2], vec![1, 2],]
        );
        // There is no lane that nobody reads from.
        let after = node("n7");
        drop((nodes, others));
        drop(waiting);
        assert_eq!(told(&after, 0), [2]);
        drop(after);
        assert_eq!(format!("{:?}", partition.state.read().lanes), format!("{:?}", Lanes::default()));
    }

    #[test]
    fn who_follows_little_can_go_back_as_long_as_nothing_of_that_was_forgotten() {
        let partition = Arc::new(Partition::new(0));
        let quiet = partition.follow(Interest::Name("quiet".to_owned()));
        pod(&partition, "quiet", "", 1);
        for revision in 2..=50_000 {
            pod(&partition, "busy", "", revision);
        }
        assert!(partition.follow(Interest::All).changes(1, 10).is_err());
        assert!(partition.follow(Interest::Name("busy".to_owned())).changes(1, 10).is_err());
        assert!(quiet.changes(0, 10).is_err(), "its first change was forgotten");
        assert!(quiet.changes(1, 10).is_ok_and(|changes| changes.is_empty()), "and nothing after it");
        partition.replace(std::iter::empty(), 60_000);
        assert!(quiet.changes(1, 10).is_err(), "nobody knows what has been since");
    }

    #[test]
    fn what_was_is_what_is_without_the_changes_since() {
        let partition = Partition::new(version_at(1));
        let at = |revision: u64, place: u64| version_at(revision) + place;
        let delete = |name: &str, version| {
            let change: (_, _, &[u8]) = (EventKind::Delete, name, b"");
            partition.tell(&partition.apply(&[change], version, Duration::ZERO));
        };
        pod(&partition, "a/p", "n1", at(2, 0));
        pod(&partition, "a/q", "n1", at(2, 1));
        pod(&partition, "a/p", "n2", at(2, 2));
        pod(&partition, "b/p", "n1", at(3, 0));
        delete("a/p", at(4, 0));
        pod(&partition, "a/p", "n3", at(5, 0));
        pod(&partition, "a/p", "n4", at(5, 1));
        let was = |version: u64, prefix: &str| -> Option<String> {
            let field = model::select::Selectable::text("spec.nodeName");
            let shown = |stored: &Arc<Stored>| {
                format!("{}@{}:{}", stored.name, stored.revision, field.value(stored.selectable()))
            };
            let objects = partition.as_of(version, prefix).ok()?;
            Some(objects.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        let (p, q) = (format!("a/p@{}:n1", at(2, 0)), format!("a/q@{}:n1", at(2, 1)));
        assert_eq!(was(at(1, 0), ""), Some(String::new()));
        assert_eq!(was(at(2, 0), ""), Some(p.clone()));
        assert_eq!(was(at(2, 1), "a/"), Some(format!("{p} {q}")));
        assert_eq!(was(at(3, 0), "a/"), Some(format!("a/p@{}:n2 {q}", at(2, 2))));
        assert_eq!(was(at(4, 0), "a/"), Some(q.clone()));
        assert_eq!(was(at(5, 0), "a/p"), Some(format!("a/p@{}:n3", at(5, 0))));
        assert_eq!(was(at(5, 1), "a/p"), Some(format!("a/p@{}:n4", at(5, 1))));
        assert_eq!(was(at(5, 0), "b/"), Some(format!("b/p@{}:n1", at(3, 0))));
        // Given by nobody here.
        assert_eq!(was(at(2, 3), ""), None);
        let knows = |version| partition.state.read().knows(version);
        assert!(knows(at(2, 1)) && knows(at(9, 0)) && !knows(at(3, 1)));
        assert_eq!(partition.lost(), 0);
        // Forgotten.
        partition.trim(HISTORY_AGE);
        assert_eq!(partition.lost(), at(5, 1));
        assert_eq!(was(at(5, 0), ""), None);
        assert!(was(at(6, 0), "").is_some());
    }

    #[test]
    fn changes_are_kept_by_size_and_for_a_time() {
        let partition = Arc::new(Partition::new(0));
        let all = partition.follow(Interest::All);
        let count = || partition.state.read().history.len();
        for revision in 1..=50_000 {
            put(&partition, revision, 10, 0);
        }
        assert!((HISTORY_BYTES / 400..HISTORY_BYTES / CHANGE).contains(&count()), "{}", count());
        for revision in 50_001..=50_100 {
            put(&partition, revision, 1 << 20, 10);
        }
        assert_eq!(count(), 7, "of a little more than a mebibyte each");
        assert!(all.changes(50_000, 10).is_err());
        assert_eq!(all.changes(50_094, 4).expect("they are there").len(), 4);
        partition.trim(Duration::from_secs(249));
        assert_eq!(count(), 7);
        partition.trim(Duration::from_secs(250));
        assert_eq!((count(), partition.state.read().history_bytes), (0, 0));
        // Whoever has seen the last change has missed nothing.
        assert!(all.changes(50_100, 10).is_ok_and(|changes| changes.is_empty()));
        assert_eq!(all.changes(50_099, 10).err().map(|e| e.oldest), Some(50_100));
    }
}

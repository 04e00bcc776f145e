//! The objects of one stored resource, and their latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::RwLock;
use store::{EventKind, KeyValue};

use super::Stored;

/// How many changes of one resource watchers can go back.
const HISTORY: usize = 4096;

/// The objects of one stored resource.
#[derive(Debug)]
pub(crate) struct Partition {
    state: RwLock<State>,
    /// Tells watchers that the partition has reached a revision.
    reached: tokio::sync::watch::Sender<u64>,
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
    frame: OnceLock<Bytes>,
}

/// A consistent view of a part of the objects.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The objects, in the order of their names.
    pub(crate) objects: Vec<Arc<Stored>>,
    /// All changes of this resource up to here are in `objects`, none after.
    pub(crate) revision: u64,
    /// How many further objects the limit left out.
    pub(crate) remaining: usize,
}

/// Why changes cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangesError {
    /// The oldest revision that can be gone on from.
    pub(crate) oldest: u64,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Stored>>,
    history: VecDeque<Arc<Change>>,
    /// Changes after this revision are in `history`.
    floor: u64,
    /// The revision of the last change, or of the last loading.
    last: u64,
}

impl Change {
    /// The line that a watcher of everything is sent; made once.
    pub(crate) fn frame(&self) -> &Bytes {
        self.frame.get_or_init(|| {
            let kind = match (self.deleted, &self.previous) {
                (true, _) => "DELETED",
                (false, None) => "ADDED",
                (false, Some(_)) => "MODIFIED",
            };
            frame(kind, self.stored.bytes())
        })
    }
}

/// One line of a watch.
pub(crate) fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut line = Vec::with_capacity(object.len() + 32);
    line.extend_from_slice(b"{\"type\":\"");
    line.extend_from_slice(kind.as_bytes());
    line.extend_from_slice(b"\",\"object\":");
    line.extend_from_slice(object);
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}

impl Partition {
    pub(super) fn new(origin: u64) -> Self {
        Self {
            state: RwLock::new(State { floor: origin, last: origin, ..State::default() }),
            reached: tokio::sync::watch::Sender::new(origin),
        }
    }

    /// One object by `NAMESPACE/NAME` or `NAME`.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Stored>> {
        self.state.read().objects.get(name).cloned()
    }

    /// The objects whose names begin with `prefix`, after the name `after`, at most `limit` (0: all)
    /// of those that `wanted` accepts. `applied` is a revision known to be visible.
    pub(crate) fn snapshot(
        &self,
        applied: u64,
        prefix: &str,
        limit: usize,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Snapshot {
        // The lock is held only to copy the references; selecting happens outside.
        let (all, revision) = {
            let state = self.state.read();
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let all: Vec<Arc<Stored>> = state
                .objects
                .range::<str, _>(from)
                .take_while(|(name, _)| name.starts_with(prefix))
                .map(|(_, stored)| stored.clone())
                .collect();
            (all, state.last.max(applied))
        };
        let mut objects: Vec<Arc<Stored>> = Vec::new();
        let mut seen = 0;
        for stored in &all {
            if limit > 0 && objects.len() == limit {
                break;
            }
            seen += 1;
            if wanted(stored) {
                objects.push(stored.clone());
            }
        }
        Snapshot { objects, revision, remaining: all.len() - seen }
    }

    /// The changes after `revision`, in order.
    pub(crate) fn changes(&self, revision: u64) -> Result<Vec<Arc<Change>>, ChangesError> {
        let state = self.state.read();
        if revision < state.floor {
            return Err(ChangesError { oldest: state.floor });
        }
        let from = state.history.partition_point(|c| c.revision <= revision);
        Ok(state.history.range(from..).cloned().collect())
    }

    /// Tells of the revisions that the partition reaches.
    pub(crate) fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Waits until a change at `revision`, known to have happened, is visible.
    pub(crate) async fn wait_for(&self, revision: u64) {
        if *self.reached.borrow() < revision {
            // The sender lives as long as the partition: waiting ends only by reaching it.
            let _ = self.reached.subscribe().wait_for(|r| *r >= revision).await;
        }
    }

    pub(super) fn apply(&self, kind: EventKind, name: &str, kv: &KeyValue) {
        let revision = kv.mod_revision;
        self.state.write().apply(kind, name, kv);
        self.reached.send_if_modified(|reached| {
            let news = revision > *reached;
            *reached = (*reached).max(revision);
            news
        });
    }

    pub(super) fn replace(&self, found: &[(&str, &KeyValue)], revision: u64) {
        {
            let mut state = self.state.write();
            state.objects = found
                .iter()
                .map(|(name, kv)| {
                    let stored = Stored::new((*name).into(), kv.mod_revision, &kv.value);
                    (stored.name.clone(), Arc::new(stored))
                })
                .collect();
            state.history.clear();
            state.floor = revision;
            state.last = revision;
        }
        self.reached.send_replace(revision);
    }
}

impl State {
    fn apply(&mut self, kind: EventKind, name: &str, kv: &KeyValue) {
        let revision = kv.mod_revision;
        let known = self.objects.get(name);
        // After loading anew, changes that the loading has already shown come again.
        if known.is_some_and(|s| s.revision >= revision) {
            return;
        }
        let (stored, previous, deleted) = match kind {
            EventKind::Put => {
                let stored = Arc::new(Stored::new(name.into(), revision, &kv.value));
                let previous = self.objects.insert(stored.name.clone(), stored.clone());
                (stored, previous, false)
            }
            EventKind::Delete => match self.objects.remove(name) {
                Some(previous) => (Arc::new(previous.at(revision)), Some(previous), true),
                None => return,
            },
        };
        let change = Change { revision, deleted, stored, previous, frame: OnceLock::new() };
        self.history.push_back(Arc::new(change));
        self.last = self.last.max(revision);
        if self.history.len() > HISTORY
            && let Some(dropped) = self.history.pop_front()
        {
            self.floor = dropped.revision;
        }
    }
}

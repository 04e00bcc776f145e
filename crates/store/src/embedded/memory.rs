//! What the store holds in memory: current values, and the history that is not compacted yet.
//!
//! Pure: no clock, no disk, no locks. A revision is visible here only once it is on disk.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::record::CHANGE_OVERHEAD;
use crate::{Error, Event, EventKind, KeyValue, Range, RangeResult, Revision, watch};

/// A change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Change {
    pub(crate) event: Event,
    /// Its place in the transaction.
    pub(crate) place: u32,
}

/// Current values and recent history.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    keys: BTreeMap<Bytes, Entry>,
    /// The changes since the revision `compacted`, that one included.
    history: VecDeque<Event>,
    revision: Revision,
    compacted: Revision,
    live: usize,
    live_bytes: usize,
    history_bytes: usize,
    /// Nothing is freed while a snapshot is being read from here.
    pinned: bool,
}

/// The versions of one key, oldest first, never none.
#[derive(Debug, Default)]
struct Entry {
    versions: Vec<Version>,
}

#[derive(Debug)]
struct Version {
    revision: Revision,
    place: u32,
    /// `None` where the key was deleted.
    kv: Option<Arc<KeyValue>>,
}

impl Memory {
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// How many keys have a value.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Bytes of all keys and values, the history included.
    pub(crate) fn bytes(&self) -> usize {
        self.live_bytes + self.history_bytes
    }

    /// How much the changes take, as records, by which the current values come back after a restart.
    pub(crate) fn record_bytes(&self) -> u64 {
        (self.live_bytes + self.live * CHANGE_OVERHEAD) as u64
    }

    /// The revision up to which to compact so that at most `events` changes and about `bytes` of
    /// superseded values are left; `None` if the history is within both already.
    ///
    /// Goes an eighth below the limits, so that compaction comes in portions.
    pub(crate) fn excess(&self, events: usize, bytes: usize) -> Option<Revision> {
        if self.history.len() <= events && self.history_bytes <= bytes {
            return None;
        }
        let (events, bytes) = (events - events / 8, bytes - bytes / 8);
        let mut left = self.history_bytes;
        let excess = self.history.len().saturating_sub(events);
        let last = self.history.iter().enumerate().find(|(index, event)| {
            left = left.saturating_sub(superseded_bytes(event));
            index + 1 >= excess && left <= bytes
        });
        // Up to the next one, since the changes of the compacted revision itself stay.
        last.map(|(_, event)| (event.revision() + 1).min(self.revision))
    }

    /// The current value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        self.keys.get(key)?.current()
    }

    /// The keys of a range that have a value now.
    pub(crate) fn current<'a>(
        &'a self,
        keys: &crate::KeyRange,
    ) -> impl Iterator<Item = &'a Arc<KeyValue>> + use<'a> {
        let entries = keys.bounds().map(|bounds| self.keys.range::<[u8], _>(bounds));
        entries.into_iter().flatten().filter_map(|(_, entry)| entry.current())
    }

    pub(crate) fn range(&self, request: &Range) -> Result<RangeResult, Error> {
        let revision = self.check_revision(request.revision)?;
        let entries = request.keys.bounds().map(|bounds| self.keys.range::<[u8], _>(bounds));
        let values = entries.into_iter().flatten().filter_map(|(_, entry)| entry.at(revision));
        Ok(RangeResult::collect(request, revision, values))
    }

    /// The revision to read, if it can be read.
    pub(crate) fn check_revision(&self, requested: Option<Revision>) -> Result<Revision, Error> {
        match requested {
            None => Ok(self.revision),
            Some(requested) if requested < self.compacted => {
                Err(Error::Compacted { requested, oldest: self.compacted })
            }
            Some(requested) if requested > self.revision => {
                Err(Error::Future { requested, current: self.revision })
            }
            Some(requested) => Ok(requested),
        }
    }

    /// The changes of a range from the revision `start` on, as many as a watch may hold whose buffer is
    /// `buffer`, and whether those are all; the error says the oldest start that works.
    pub(crate) fn changes(
        &self,
        keys: &crate::KeyRange,
        start: Revision,
        buffer: usize,
    ) -> Result<(VecDeque<Event>, bool), Revision> {
        if start < self.compacted {
            return Err(self.compacted);
        }
        let first = self.history.partition_point(|event| event.revision() < start);
        let (mut changes, mut all) = (VecDeque::<Event>::new(), true);
        for event in self.history.range(first..).filter(|event| keys.contains(&event.kv.key)) {
            let begins = changes.back().is_some_and(|last| last.revision() != event.revision());
            if begins && changes.len() >= buffer {
                all = false;
                break;
            }
            changes.push_back(event.clone());
        }
        let whole = watch::whole(&changes, buffer);
        all &= whole == changes.len();
        changes.truncate(whole);
        Ok((changes, all))
    }

    /// Takes the changes of one or more transactions in; the store is at `revision` then.
    pub(crate) fn apply(&mut self, changes: impl IntoIterator<Item = Change>, revision: Revision) {
        for change in changes {
            self.apply_one(change);
        }
        self.revision = self.revision.max(revision);
    }

    /// Refuses all that lies before `revision` from now on; [`Memory::compact_step`] frees it.
    pub(crate) fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision);
    }

    /// Frees what lies before the compacted revision, at most `steps` changes of it; false if nothing
    /// is left to do, or may be done while it is pinned.
    pub(crate) fn compact_step(&mut self, steps: usize) -> bool {
        for _ in 0..steps {
            if self.pinned || self.history.front().is_none_or(|event| event.revision() >= self.compacted) {
                return false;
            }
            let Some(event) = self.history.pop_front() else { return false };
            self.history_bytes -= superseded_bytes(&event);
            self.prune(&event.kv.key);
        }
        true
    }

    /// Keeps everything that is there now until it is set free.
    pub(crate) fn pin(&mut self, pinned: bool) {
        self.pinned = pinned;
    }

    /// What the keys after `after`, at most `limit` of them, need after a restart to be as they were at
    /// `revision`, which must have been pinned: their changes. Gives the last key too.
    pub(crate) fn changes_until(
        &self,
        after: Option<&Bytes>,
        limit: usize,
        revision: Revision,
        changes: &mut Vec<Change>,
    ) -> Option<Bytes> {
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(&after[..]));
        let mut last = None;
        for (key, entry) in self.keys.range::<[u8], _>((start, Bound::Unbounded)).take(limit) {
            entry.changes_until(key, revision, changes);
            last = Some(key);
        }
        last.cloned()
    }

    fn apply_one(&mut self, Change { mut event, place }: Change) {
        let revision = event.revision();
        let entry = self.keys.entry(event.kv.key.clone()).or_default();
        let previous = entry.current().cloned();
        if let Some(previous) = &previous {
            self.live -= 1;
            self.live_bytes -= previous.key.len() + previous.value.len();
        }
        let kv = match event.kind {
            EventKind::Put => {
                self.live += 1;
                self.live_bytes += event.kv.key.len() + event.kv.value.len();
                Some(event.kv.clone())
            }
            EventKind::Delete => None,
        };
        entry.versions.push(Version { revision, place, kv });
        event.previous = previous;
        self.history_bytes += superseded_bytes(&event);
        self.history.push_back(event);
        self.revision = self.revision.max(revision);
    }

    /// Drops the versions of a key that no revision from the compacted one on shows.
    fn prune(&mut self, key: &Bytes) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        let visible =
            entry.versions.partition_point(|version| version.revision <= self.compacted).saturating_sub(1);
        entry.versions.drain(..visible);
        if entry.versions.len() == 1
            && entry.versions[0].kv.is_none()
            && entry.versions[0].revision < self.compacted
        {
            self.keys.remove(key);
        } else {
            entry.versions.shrink_to_fit();
        }
    }
}

impl Entry {
    fn current(&self) -> Option<&Arc<KeyValue>> {
        self.versions.last()?.kv.as_ref()
    }

    fn at(&self, revision: Revision) -> Option<&Arc<KeyValue>> {
        let end = self.versions.partition_point(|version| version.revision <= revision);
        self.versions[..end].last()?.kv.as_ref()
    }

    /// What the log has to hold of the key for a restart at `revision`.
    fn changes_until(&self, key: &Bytes, revision: Revision, changes: &mut Vec<Change>) {
        let end = self.versions.partition_point(|version| version.revision <= revision);
        changes.extend(self.versions[..end].iter().map(|version| version.change(key)));
    }
}

impl Version {
    /// The change that made the version.
    fn change(&self, key: &Bytes) -> Change {
        let (kind, kv) = match &self.kv {
            Some(kv) => (EventKind::Put, kv.clone()),
            None => (EventKind::Delete, Arc::new(KeyValue::deleted(key.clone(), self.revision))),
        };
        Change { event: Event { kind, kv, previous: None }, place: self.place }
    }
}

fn superseded_bytes(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |previous| previous.value.len())
}

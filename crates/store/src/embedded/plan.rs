//! Deciding what transactions do, before any of it is done.
//!
//! A batch of transactions is planned one after another, each seeing what those before it in the
//! batch will have written; then the batch is written to disk as one, and applied to memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::memory::{Change, Memory};
use crate::{
    Compare, CompareTarget, Error, Event, EventKind, KeyRange, KeyValue, Op, OpResult, Put, Range,
    RangeResult, Revision, Txn, TxnResult,
};

/// A batch of transactions in the making.
pub(crate) struct Plan<'a> {
    memory: &'a Memory,
    /// What keys will be once the batch is applied.
    pending: BTreeMap<Bytes, Option<Arc<KeyValue>>>,
    changes: Vec<Change>,
    revision: Revision,
    /// Why nothing may be written to disk, if so.
    read_only: Option<ReadOnly>,
}

/// Why nothing may be written to disk.
#[derive(Clone, Debug)]
pub(crate) struct ReadOnly {
    pub(crate) error: Error,
    /// Whether deletions, and what is on the way to one, may be nevertheless.
    pub(crate) but_deletions: bool,
}

impl<'a> Plan<'a> {
    /// An empty batch on top of `memory`; writes fail with `read_only`, if given.
    pub(crate) fn new(memory: &'a Memory, read_only: Option<ReadOnly>) -> Self {
        Self { memory, pending: BTreeMap::new(), changes: Vec::new(), revision: memory.revision(), read_only }
    }

    /// Adds a transaction. If it fails, the batch is as if it had not been added.
    pub(crate) fn add(
        &mut self,
        txn: Txn,
        lease_exists: impl Fn(crate::LeaseId) -> bool,
    ) -> Result<TxnResult, Error> {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { txn.success } else { txn.failure };
        self.check(&ops, lease_exists)?;
        let revision = self.revision + 1;
        let first_change = self.changes.len();
        let results =
            ops.into_iter().map(|op| self.perform(op, revision, first_change)).collect::<Result<_, _>>()?;
        if self.changes.len() > first_change {
            self.revision = revision;
        }
        Ok(TxnResult { succeeded, results, revision: self.revision })
    }

    /// The changes of the whole batch and the revision that it ends with.
    pub(crate) fn finish(self) -> (Vec<Change>, Revision) {
        (self.changes, self.revision)
    }

    fn get(&self, key: &[u8]) -> Option<&Arc<KeyValue>> {
        match self.pending.get(key) {
            Some(pending) => pending.as_ref(),
            None => self.memory.get(key),
        }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let kv = self.get(&compare.key);
        match compare.target {
            CompareTarget::ModRevision(expected) => kv.map_or(0, |kv| kv.mod_revision) == expected,
            CompareTarget::CreateRevision(expected) => kv.map_or(0, |kv| kv.create_revision) == expected,
            CompareTarget::Version(expected) => kv.map_or(0, |kv| kv.version) == expected,
        }
    }

    /// Refuses what cannot be done, so that performing never stops half-way.
    fn check(&self, ops: &[Op], lease_exists: impl Fn(crate::LeaseId) -> bool) -> Result<(), Error> {
        for op in ops {
            match op {
                Op::Put(put) => {
                    if let Some(lease) = put.lease.filter(|&lease| !lease_exists(lease)) {
                        return Err(Error::LeaseNotFound { lease });
                    }
                    self.check_writable(put.urgent)?;
                }
                Op::Delete(keys) => {
                    if self.read_only.is_some() && self.list(keys).next().is_some() {
                        self.check_writable(true)?;
                    }
                }
                Op::Get(range) => drop(self.memory.check_revision(range.revision)?),
            }
        }
        Ok(())
    }

    fn check_writable(&self, urgent: bool) -> Result<(), Error> {
        match &self.read_only {
            Some(why) if !(urgent && why.but_deletions) => Err(why.error.clone()),
            _ => Ok(()),
        }
    }

    fn perform(&mut self, op: Op, revision: Revision, first_change: usize) -> Result<OpResult, Error> {
        Ok(match op {
            Op::Put(put) => self.put(put, revision, first_change),
            Op::Delete(keys) => {
                let deleted: Vec<_> = self.list(&keys).cloned().collect();
                for kv in &deleted {
                    self.delete(kv, revision, first_change);
                }
                OpResult::Deleted(deleted)
            }
            Op::Get(range) => OpResult::Range(self.read(&range)?),
        })
    }

    fn put(&mut self, put: Put, revision: Revision, first_change: usize) -> OpResult {
        let previous = self.get(&put.key).cloned();
        let kv = Arc::new(KeyValue {
            key: put.key,
            value: put.value,
            create_revision: previous.as_ref().map_or(revision, |previous| previous.create_revision),
            mod_revision: revision,
            version: previous.as_ref().map_or(0, |previous| previous.version) + 1,
            lease: put.lease,
        });
        self.pending.insert(kv.key.clone(), Some(kv.clone()));
        self.push(EventKind::Put, kv.clone(), previous.clone(), first_change);
        OpResult::Put { kv, previous }
    }

    fn delete(&mut self, previous: &Arc<KeyValue>, revision: Revision, first_change: usize) {
        self.pending.insert(previous.key.clone(), None);
        let kv = Arc::new(KeyValue::deleted(previous.key.clone(), revision));
        self.push(EventKind::Delete, kv, Some(previous.clone()), first_change);
    }

    fn push(
        &mut self,
        kind: EventKind,
        kv: Arc<KeyValue>,
        previous: Option<Arc<KeyValue>>,
        first_change: usize,
    ) {
        let place = u32::try_from(self.changes.len() - first_change)
            .expect("no transaction has four billion changes");
        self.changes.push(Change { event: Event { kind, kv, previous }, place });
    }

    /// The keys of a range as they will be, in order.
    fn list(&self, keys: &KeyRange) -> impl Iterator<Item = &Arc<KeyValue>> {
        // Batches touch few keys, so merging by a map costs less than it looks.
        let pending = keys.bounds().map(|bounds| self.pending.range::<[u8], _>(bounds)).into_iter().flatten();
        let mut merged: BTreeMap<&[u8], &Arc<KeyValue>> = BTreeMap::new();
        match keys.single() {
            Some(key) => merged.extend(self.memory.get(key).map(|kv| (&kv.key[..], kv))),
            None => merged.extend(self.memory.current(keys).map(|kv| (&kv.key[..], kv))),
        }
        for (key, pending) in pending {
            match pending {
                Some(kv) => drop(merged.insert(key, kv)),
                None => drop(merged.remove(&key[..])),
            }
        }
        merged.into_values()
    }

    fn read(&self, range: &Range) -> Result<RangeResult, Error> {
        if range.revision.is_some() {
            return self.memory.range(range);
        }
        Ok(RangeResult::collect(range, self.revision, self.list(&range.keys)))
    }
}

//! What a store is asked, and what it answers.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::kv::Key;
use crate::{Error, KeyRange, KeyValue, Revision};

/// The longest key that is taken, in bytes.
pub const KEY_LIMIT: usize = 8 << 10;
/// The largest value that is taken, in bytes: 1.5 MiB, what etcd takes as a request unless it is told
/// otherwise. There the whole transaction has to fit.
pub const VALUE_LIMIT: usize = 3 << 19;
/// How many operations, and how many conditions, a transaction may have, as in etcd.
pub const OPERATION_LIMIT: usize = 128;

/// Names a lease of one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId(pub u64);

/// A read of a range of keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Range {
    /// Which keys.
    pub keys: KeyRange,
    /// As of which revision; `None` for the current one.
    pub revision: Option<Revision>,
    /// How many items at most; `None` for all.
    pub limit: Option<usize>,
    /// Only count, give no items.
    pub count_only: bool,
    /// Nobody wants to know how many keys there are beyond the limit.
    pub uncounted: bool,
}

impl Range {
    /// All of `keys` as they are now.
    pub fn new(keys: KeyRange) -> Self {
        Self { keys, revision: None, limit: None, count_only: false, uncounted: false }
    }

    /// As of an earlier revision.
    pub fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The first `limit` items only.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The keys beyond the limit are not counted: reading a long range page by page costs in proportion
    /// to its length.
    pub fn uncounted(mut self) -> Self {
        self.uncounted = true;
        self
    }

    /// No items, only their number.
    pub fn count_only(mut self) -> Self {
        self.count_only = true;
        self
    }
}

/// What a [`Range`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RangeResult {
    /// The items, in the order of their keys.
    pub items: Vec<Arc<KeyValue>>,
    /// How many keys the range holds in all, whatever the limit; the number of items where it was not to
    /// be counted.
    pub count: usize,
    /// Whether the limit cut items off; go on with [`KeyRange::after`] the last key, at
    /// [`RangeResult::revision`].
    pub more: bool,
    /// The revision that was read.
    pub revision: Revision,
}

impl RangeResult {
    /// Puts together what `range` asks for of the keys that it means.
    pub(crate) fn collect<'a>(
        range: &Range,
        revision: Revision,
        values: impl Iterator<Item = &'a Arc<KeyValue>>,
    ) -> Self {
        let mut result = Self { revision, ..Self::default() };
        let limit = if range.count_only { 0 } else { range.limit.unwrap_or(usize::MAX) };
        for kv in values {
            if result.items.len() < limit {
                result.items.push(kv.clone());
            } else if !range.count_only {
                result.more = true;
                if range.uncounted {
                    break;
                }
            }
            result.count += 1;
        }
        result
    }
}

/// Compares, then does one of two lists of operations, as one step.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Txn {
    /// What must hold, all of it.
    pub compare: Vec<Compare>,
    /// What is done if it holds.
    pub success: Vec<Op>,
    /// What is done if it does not.
    pub failure: Vec<Op>,
}

impl Txn {
    /// A transaction that does nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    pub fn when(mut self, compare: Compare) -> Self {
        self.compare.push(compare);
        self
    }

    /// Adds what is done if all conditions hold.
    pub fn then(mut self, op: Op) -> Self {
        self.success.push(op);
        self
    }

    /// Adds what is done if a condition does not hold.
    pub fn otherwise(mut self, op: Op) -> Self {
        self.failure.push(op);
        self
    }

    /// Whether it changes nothing, however its conditions turn out.
    pub(crate) fn only_reads(&self) -> bool {
        self.ops().all(|op| matches!(op, Op::Get(_)))
    }

    /// The leases that it ties keys to.
    pub(crate) fn leases(&self) -> impl Iterator<Item = LeaseId> {
        self.puts().filter_map(|put| put.lease)
    }

    /// How many bytes of keys and values it carries.
    pub(crate) fn bytes(&self) -> usize {
        self.puts().map(|put| put.key.len() + put.value.len()).sum()
    }

    fn ops(&self) -> impl Iterator<Item = &Op> {
        self.success.iter().chain(&self.failure)
    }

    fn puts(&self) -> impl Iterator<Item = &Put> {
        self.ops().filter_map(|op| match op {
            Op::Put(put) => Some(put),
            Op::Delete(_) | Op::Get(_) => None,
        })
    }

    /// Refuses what no backend takes, whichever of the two lists would be done.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let count = self.compare.len().max(self.success.len()).max(self.failure.len());
        if count > OPERATION_LIMIT {
            return Err(Error::TooManyOperations { count });
        }
        for ops in [&self.success, &self.failure] {
            ops.iter().try_for_each(Op::check)?;
            if ops.len() > 1 {
                check_overlap(ops)?;
            }
        }
        Ok(())
    }
}

/// A condition on one key; an absent key has all numbers 0.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// Which of its numbers must equal what.
    pub target: CompareTarget,
}

impl Compare {
    /// The key must have been set last at `revision`; 0 if it must be absent.
    pub fn mod_revision(key: impl Into<Key>, revision: Revision) -> Self {
        Self { key: key.into().0, target: CompareTarget::ModRevision(revision) }
    }

    /// The key must be absent.
    pub fn absent(key: impl Into<Key>) -> Self {
        Self::mod_revision(key, 0)
    }
}

/// The number that a [`Compare`] looks at, and the value it must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompareTarget {
    /// When the value was last set.
    ModRevision(Revision),
    /// When the key came into being.
    CreateRevision(Revision),
    /// How often the value has been set.
    Version(u64),
}

/// One operation of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Sets a key. No transaction may set the same key twice, nor set one of a range that it deletes.
    Put(Put),
    /// Deletes the keys of a range.
    Delete(KeyRange),
    /// Reads, seeing what the operations before it in the transaction wrote.
    Get(Range),
}

impl Op {
    fn check(&self) -> Result<(), Error> {
        let Self::Put(put) = self else { return Ok(()) };
        check_size("key", put.key.len(), KEY_LIMIT)?;
        check_size("value", put.value.len(), VALUE_LIMIT)
    }
}

fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), Error> {
    if size > limit { Err(Error::TooLarge { what, size, limit }) } else { Ok(()) }
}

/// Whether it matters in which order the operations are done.
fn check_overlap(ops: &[Op]) -> Result<(), Error> {
    let duplicate = |key: &Bytes| Error::DuplicateKey { key: String::from_utf8_lossy(key).into_owned() };
    let mut set = HashSet::new();
    let mut deleted = Vec::new();
    for op in ops {
        match op {
            Op::Put(put) if !set.insert(&put.key) => return Err(duplicate(&put.key)),
            Op::Put(_) | Op::Get(_) => {}
            Op::Delete(keys) => deleted.push(keys),
        }
    }
    match set.into_iter().find(|key| deleted.iter().any(|range| range.contains(key))) {
        Some(key) => Err(duplicate(key)),
        None => Ok(()),
    }
}

/// Sets one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Put {
    /// The key.
    pub key: Bytes,
    /// Its new value.
    pub value: Bytes,
    /// The lease that the key is deleted with.
    pub lease: Option<LeaseId>,
    /// A hint: this has to be written on the way to a deletion. A backend that keeps space for deletions
    /// takes it on a full disk too; etcd, which takes nothing then but deletions, passes over it.
    pub urgent: bool,
}

impl Put {
    /// Sets `key` to `value`.
    pub fn new(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into().0, value: value.into(), lease: None, urgent: false }
    }

    /// Ties the key to a lease.
    pub fn lease(mut self, lease: LeaseId) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Lets the value take the space that is kept for deletions, where there is some.
    pub fn urgent(mut self) -> Self {
        self.urgent = true;
        self
    }
}

/// What a [`Txn`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TxnResult {
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One result for each operation that was done, in their order.
    pub results: Vec<OpResult>,
    /// The store's revision after the transaction; its own one if it wrote.
    pub revision: Revision,
}

/// What one [`Op`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpResult {
    /// What was set, and what was there before.
    Put {
        /// The key with its new value and revisions.
        kv: Arc<KeyValue>,
        /// What was there before.
        previous: Option<Arc<KeyValue>>,
    },
    /// What was deleted; empty if nothing was there.
    Deleted(Vec<Arc<KeyValue>>),
    /// What was read.
    Range(RangeResult),
}

/// What a conditional write expects to find.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// No such key.
    Absent,
    /// The key as it was set at this revision.
    Revision(Revision),
}

/// A conditional write found something else than it expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conflict {
    /// What is there; `None` if the key is absent.
    pub current: Option<Arc<KeyValue>>,
    /// The store's revision when it was found.
    pub revision: Revision,
}

/// How a store fares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// The current revision.
    pub revision: Revision,
    /// Reads from before this revision fail; 0 if nothing was ever compacted.
    pub compacted: Revision,
    /// How many keys there are.
    pub keys: usize,
    /// Bytes of keys and values held in memory, the history included.
    pub memory_bytes: usize,
    /// How many watches are open.
    pub watchers: usize,
    /// Why nothing can be written at the moment; `None` if all is well.
    pub read_only: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_to_be_counted_is_not_looked_at() {
        let value = |number: u8| {
            Arc::new(KeyValue {
                key: Bytes::copy_from_slice(&[number]),
                value: Bytes::new(),
                create_revision: 1,
                mod_revision: 1,
                version: 1,
                lease: None,
            })
        };
        let values: Vec<_> = (0..9).map(value).collect();
        let looked_at = std::cell::Cell::new(0);
        let all = || values.iter().inspect(|_| looked_at.set(looked_at.get() + 1));
        let range = Range::new(KeyRange::prefix("")).limit(3);
        let found = RangeResult::collect(&range, 1, all());
        assert_eq!((found.items.len(), found.count, found.more, looked_at.take()), (3, 9, true, 9));
        let found = RangeResult::collect(&range.uncounted(), 1, all());
        assert_eq!((found.items.len(), found.count, found.more, looked_at.take()), (3, 3, true, 4));
    }
}

//! Between the store's types and etcd's messages. Keys there begin with the prefix, here they do not.

use std::sync::Arc;

use bytes::Bytes;

use super::api;
use super::api::request_op::Request;
use super::api::response_op::Response;
use crate::kv::RangeEnd;
use crate::{
    Compare, CompareTarget, Error, Event, EventKind, KeyRange, KeyValue, LeaseId, Op, OpResult, Put, Range,
    RangeResult, Revision, Txn, TxnResult,
};

/// The end of a range that has none, and the key that all others come after.
const OPEN: Bytes = Bytes::from_static(b"\0");

/// What all keys begin with in etcd.
pub(super) struct Prefix(String);

impl Prefix {
    pub(super) fn new(prefix: String) -> Self {
        Self(prefix)
    }

    /// A key as etcd has it.
    fn on(&self, key: &Bytes) -> Bytes {
        if self.0.is_empty() {
            return key.clone();
        }
        [self.0.as_bytes(), key].concat().into()
    }

    /// A key of etcd's as the store has it.
    fn off(&self, key: &Bytes) -> Bytes {
        key.slice(self.0.len().min(key.len())..)
    }

    /// A range as etcd has it: its first key and what comes after its last.
    pub(super) fn range(&self, keys: &KeyRange) -> (Bytes, Bytes) {
        let first = Some(self.on(keys.start())).filter(|key| !key.is_empty()).unwrap_or(OPEN);
        let end = match keys.end() {
            RangeEnd::Single => Bytes::new(),
            RangeEnd::Before(end) => self.on(end),
            RangeEnd::Unbounded => match KeyRange::prefix(self.0.clone()).end() {
                RangeEnd::Before(end) => end.clone(),
                _ => OPEN,
            },
        };
        (first, end)
    }

    /// One key with its value, as etcd tells it. Both in buffers of their own: they are kept for long, and
    /// what they came in holds all of an answer.
    pub(super) fn item(&self, kv: api::KeyValue) -> Arc<KeyValue> {
        Arc::new(KeyValue {
            key: Bytes::copy_from_slice(&self.off(&kv.key)),
            value: Bytes::copy_from_slice(&kv.value),
            create_revision: kv.create_revision.cast_unsigned(),
            mod_revision: kv.mod_revision.cast_unsigned(),
            version: kv.version.cast_unsigned(),
            lease: Some(LeaseId(kv.lease.cast_unsigned())).filter(|lease| lease.0 != 0),
        })
    }

    /// A change, as etcd tells it: of a deletion the key and the revision, and what was there if the history
    /// reaches so far.
    pub(super) fn event(&self, event: api::Event) -> Option<Event> {
        let deleted = event.r#type() == api::event::EventType::Delete;
        let kind = if deleted { EventKind::Delete } else { EventKind::Put };
        let previous = event.prev_kv.map(|kv| self.item(kv));
        Some(Event { kind, kv: self.item(event.kv?), previous })
    }

    fn op(&self, op: &Op) -> api::RequestOp {
        let request = match op {
            Op::Put(put) => Request::RequestPut(self.put(put)),
            Op::Delete(keys) => {
                let (key, range_end) = self.range(keys);
                Request::RequestDeleteRange(api::DeleteRangeRequest { key, range_end, prev_kv: true })
            }
            Op::Get(request) => Request::RequestRange(range(self, request)),
        };
        api::RequestOp { request: Some(request) }
    }

    fn put(&self, put: &Put) -> api::PutRequest {
        api::PutRequest {
            key: self.on(&put.key),
            value: put.value.clone(),
            lease: put.lease.map_or(0, |lease| lease.0.cast_signed()),
            prev_kv: true,
        }
    }

    fn compare(&self, compare: &Compare) -> api::Compare {
        use api::compare::{CompareTarget as Target, TargetUnion};
        let (target, wanted) = match compare.target {
            CompareTarget::ModRevision(revision) => {
                (Target::Mod, TargetUnion::ModRevision(revision.cast_signed()))
            }
            CompareTarget::CreateRevision(revision) => {
                (Target::Create, TargetUnion::CreateRevision(revision.cast_signed()))
            }
            CompareTarget::Version(version) => (Target::Version, TargetUnion::Version(version.cast_signed())),
        };
        api::Compare {
            result: api::compare::CompareResult::Equal.into(),
            target: target.into(),
            key: self.on(&compare.key),
            target_union: Some(wanted),
        }
    }

    fn result(&self, op: Op, answer: api::ResponseOp, revision: Revision) -> Option<OpResult> {
        Some(match (op, answer.response?) {
            (Op::Put(put), Response::ResponsePut(answer)) => {
                let previous = answer.prev_kv.map(|kv| self.item(kv));
                let kv = Arc::new(KeyValue {
                    key: put.key,
                    value: put.value,
                    create_revision: previous.as_ref().map_or(revision, |kv| kv.create_revision),
                    mod_revision: revision,
                    version: previous.as_ref().map_or(0, |kv| kv.version) + 1,
                    lease: put.lease,
                });
                OpResult::Put { kv, previous }
            }
            (Op::Delete(_), Response::ResponseDeleteRange(answer)) => {
                OpResult::Deleted(answer.prev_kvs.into_iter().map(|kv| self.item(kv)).collect())
            }
            (Op::Get(request), Response::ResponseRange(answer)) => {
                OpResult::Range(ranged(self, &request, answer))
            }
            _ => return None,
        })
    }
}

/// The message of a read.
pub(super) fn range(prefix: &Prefix, request: &Range) -> api::RangeRequest {
    let (key, range_end) = prefix.range(&request.keys);
    api::RangeRequest {
        key,
        range_end,
        limit: request.limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or_default(),
        revision: request.revision.unwrap_or_default().cast_signed(),
        count_only: request.count_only,
    }
}

/// What a read found.
pub(super) fn ranged(prefix: &Prefix, request: &Range, answer: api::RangeResponse) -> RangeResult {
    let items: Vec<_> = answer.kvs.into_iter().map(|kv| prefix.item(kv)).collect();
    let count = if request.uncounted && !request.count_only {
        items.len()
    } else {
        usize::try_from(answer.count).unwrap_or_default()
    };
    let revision = request.revision.unwrap_or_else(|| revision(answer.header));
    RangeResult { items, count, more: answer.more, revision }
}

/// The message of a transaction.
pub(super) fn txn(prefix: &Prefix, txn: &Txn) -> api::TxnRequest {
    api::TxnRequest {
        compare: txn.compare.iter().map(|compare| prefix.compare(compare)).collect(),
        success: txn.success.iter().map(|op| prefix.op(op)).collect(),
        failure: txn.failure.iter().map(|op| prefix.op(op)).collect(),
    }
}

/// What a transaction did.
pub(super) fn done(prefix: &Prefix, txn: Txn, answer: api::TxnResponse) -> Result<TxnResult, Error> {
    let revision = revision(answer.header);
    let ops = if answer.succeeded { txn.success } else { txn.failure };
    let pairs = ops.into_iter().zip(answer.responses);
    let results: Option<Vec<_>> = pairs.map(|(op, answer)| prefix.result(op, answer, revision)).collect();
    let strange = || Error::Refused { message: "etcd answered something else than was asked".to_owned() };
    Ok(TxnResult { succeeded: answer.succeeded, results: results.ok_or_else(strange)?, revision })
}

/// The store's revision, as the head of an answer says it.
pub(super) fn revision(header: Option<api::ResponseHeader>) -> Revision {
    header.map_or(0, |header| header.revision.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, keys: KeyRange, first: &str, end: &str) {
        assert_eq!(
            Prefix::new(prefix.to_owned()).range(&keys),
            (first.to_owned().into(), end.to_owned().into())
        );
    }

    #[test]
    fn ranges_stay_below_the_prefix() {
        check("", KeyRange::prefix(""), "\0", "\0");
        check("", KeyRange::key("a"), "a", "");
        check("", KeyRange::prefix("a/"), "a/", "a0");
        check("/g/", KeyRange::prefix(""), "/g/", "/g0");
        check("/g/", KeyRange::between("a", "b"), "/g/a", "/g/b");
        check("/g/", KeyRange::key("a"), "/g/a", "");
        check("/g/", KeyRange::prefix("").after("a"), "/g/a\0", "/g0");
    }
}

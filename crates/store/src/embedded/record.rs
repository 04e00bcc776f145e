//! What the groups of the log are made of.
//!
//! | record, little-endian | bytes |
//! | --- | --- |
//! | 1 set: revision, create revision, version, lease (0 for none); place in the transaction, lengths of key and value; key, value | 1, 8 each, 4 each |
//! | 2 deleted: as 1, with an empty value | |
//! | 3 numbers: compacted revision, ceiling of revisions, last lease | 1, 8 each |
//! | 4 lease granted: id, time to live in milliseconds | 1, 8 each |
//! | 5 lease ended: id | 1, 8 |
//! | 6 end of a snapshot | 1 |
//!
//! The version of this layout is that of the file's header.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::memory::Change;
use crate::{Event, EventKind, KeyValue, LeaseId, Revision};

const SET: u8 = 1;
const DELETED: u8 = 2;
const NUMBERS: u8 = 3;
const GRANTED: u8 = 4;
const ENDED: u8 = 5;
const END: u8 = 6;
/// What a change takes besides its key and value.
pub(crate) const CHANGE_OVERHEAD: usize = 1 + 4 * 8 + 3 * 4;

/// The numbers that are kept beside the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Reads from before this revision fail.
    pub(crate) compacted: Revision,
    /// No revision up to this one may be given again, whether or not it is in the log: changes
    /// that are kept in memory only have revisions too.
    pub(crate) ceiling: Revision,
    /// The last lease that was granted.
    pub(crate) last_lease: u64,
}

/// What is found in a log when all of it has been read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// All changes, in the order in which they were written.
    pub(crate) changes: Vec<Change>,
    pub(crate) numbers: Numbers,
    /// The leases with their time to live.
    pub(crate) leases: BTreeMap<LeaseId, Duration>,
}

pub(crate) fn put_change(out: &mut Vec<u8>, change: &Change) {
    let kv = &change.event.kv;
    let (kind, value) = match change.event.kind {
        EventKind::Put => (SET, &kv.value[..]),
        EventKind::Delete => (DELETED, &[][..]),
    };
    out.push(kind);
    for number in [kv.mod_revision, kv.create_revision, kv.version, kv.lease.map_or(0, |lease| lease.0)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let length =
        |bytes: &[u8]| u32::try_from(bytes.len()).expect("keys and values are a few megabytes at most");
    for number in [change.place, length(&kv.key), length(value)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&kv.key);
    out.extend_from_slice(value);
}

pub(crate) fn put_numbers(out: &mut Vec<u8>, numbers: Numbers) {
    put(out, NUMBERS, &[numbers.compacted, numbers.ceiling, numbers.last_lease]);
}

/// A lease with its time to live, or without one where it ended.
pub(crate) fn put_lease(out: &mut Vec<u8>, lease: LeaseId, ttl: Option<Duration>) {
    match ttl {
        Some(ttl) => put(out, GRANTED, &[lease.0, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)]),
        None => put(out, ENDED, &[lease.0]),
    }
}

pub(crate) fn put_end(out: &mut Vec<u8>) {
    put(out, END, &[]);
}

fn put(out: &mut Vec<u8>, kind: u8, numbers: &[u64]) {
    out.push(kind);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

impl Loaded {
    /// Puts the changes into the order in which they happened, each once. What was only in memory may
    /// have been written more than once, and later.
    pub(crate) fn sort(&mut self) {
        self.changes.sort_by_key(|change| (change.event.revision(), change.place));
        self.changes.dedup_by_key(|change| (change.event.revision(), change.place));
    }

    /// Takes the records of one group in; `None` if they make no sense. Says whether it was the
    /// last one of a snapshot.
    pub(crate) fn apply(&mut self, mut payload: &[u8]) -> Option<bool> {
        let mut end = false;
        while let Some((&kind, rest)) = payload.split_first() {
            payload = rest;
            let mut number = || take(&mut payload).map(u64::from_le_bytes);
            match kind {
                SET | DELETED => self.changes.push(change(kind, &mut payload)?),
                NUMBERS => {
                    let compacted = self.numbers.compacted.max(number()?);
                    self.numbers = Numbers { compacted, ceiling: number()?, last_lease: number()? };
                }
                GRANTED => {
                    self.leases.insert(LeaseId(number()?), Duration::from_millis(number()?));
                }
                ENDED => {
                    self.leases.remove(&LeaseId(number()?));
                }
                END => end = true,
                _ => return None,
            }
        }
        Some(end)
    }
}

fn change(kind: u8, payload: &mut &[u8]) -> Option<Change> {
    let mut number = || take(payload).map(u64::from_le_bytes);
    let (mod_revision, create_revision, version, lease) = (number()?, number()?, number()?, number()?);
    let mut small = || take(payload).map(u32::from_le_bytes);
    let (place, key, value) = (small()?, small()? as usize, small()? as usize);
    let (key, rest) = payload.split_at_checked(key)?;
    let (value, rest) = rest.split_at_checked(value)?;
    *payload = rest;
    let key = Bytes::copy_from_slice(key);
    let (kind, kv) = if kind == SET {
        let value = Bytes::copy_from_slice(value);
        let lease = Some(lease).filter(|&lease| lease != 0).map(LeaseId);
        (EventKind::Put, KeyValue { key, value, create_revision, mod_revision, version, lease })
    } else {
        // Earlier versions wrote more of a deletion than that.
        (EventKind::Delete, KeyValue::deleted(key, mod_revision))
    };
    Some(Change { event: Event { kind, kv: Arc::new(kv), previous: None }, place })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: EventKind, key: &'static str, value: &'static str, lease: Option<LeaseId>) -> Change {
        let key = Bytes::from_static(key.as_bytes());
        let kv = match kind {
            EventKind::Put => {
                let value = Bytes::from_static(value.as_bytes());
                KeyValue { key, value, create_revision: 3, mod_revision: 7, version: 2, lease }
            }
            EventKind::Delete => KeyValue::deleted(key, 7),
        };
        Change { event: Event { kind, kv: Arc::new(kv), previous: None }, place: 1 }
    }

    #[test]
    fn records_read_back_as_they_were_written() {
        let changes = [
            change(EventKind::Put, "pods/a", "{}", None),
            change(EventKind::Put, "", "", Some(LeaseId(9))),
            change(EventKind::Delete, "pods/a", "", None),
        ];
        let numbers = Numbers { compacted: 1, ceiling: 2, last_lease: 3 };
        let mut payload = Vec::new();
        changes.iter().for_each(|change| put_change(&mut payload, change));
        put_numbers(&mut payload, numbers);
        put_lease(&mut payload, LeaseId(4), Some(Duration::from_secs(5)));
        put_lease(&mut payload, LeaseId(6), Some(Duration::from_secs(7)));
        put_lease(&mut payload, LeaseId(4), None);
        let mut loaded = Loaded::default();
        assert_eq!(loaded.apply(&payload), Some(false));
        assert_eq!(loaded.changes, changes);
        assert_eq!(loaded.numbers, numbers);
        assert_eq!(loaded.leases, BTreeMap::from([(LeaseId(6), Duration::from_secs(7))]));
        put_end(&mut payload);
        assert_eq!(Loaded::default().apply(&payload), Some(true));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut payload = Vec::new();
        put_change(&mut payload, &change(EventKind::Put, "key", "value", None));
        for cut in 1..payload.len() {
            assert_eq!(Loaded::default().apply(&payload[..cut]), None, "cut to {cut} bytes");
        }
        payload[0] = 99;
        assert_eq!(Loaded::default().apply(&payload), None, "unknown kind");
    }
}

//! One change as the durable log keeps it.
//!
//! | field | bytes |
//! | --- | --- |
//! | kind: 1 set, 2 deleted | 1 |
//! | create revision, version, lease (0 for none), big-endian | 8 each |
//! | length of the key, big-endian | 4 |
//! | key, then the value to the end | |
//!
//! A record's own key is its revision and its place in the transaction, both big-endian, so that
//! the log is in the order in which things happened. The version of this layout is that of the
//! file `format` beside the log.

use std::sync::Arc;

use bytes::Bytes;

use super::memory::{Change, RecordId};
use crate::{Event, EventKind, KeyValue, LeaseId, Revision};

const SET: u8 = 1;
const DELETED: u8 = 2;
const HEADER: usize = 1 + 3 * 8 + 4;

/// The key of a record, without the letter that the log puts before it.
pub(crate) fn encode_id(id: RecordId) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&id.revision.to_be_bytes());
    bytes[8..].copy_from_slice(&id.place.to_be_bytes());
    bytes
}

/// Reads what [`encode_id`] wrote.
pub(crate) fn decode_id(bytes: &[u8]) -> Option<RecordId> {
    let (revision, place) = bytes.split_first_chunk::<8>()?;
    Some(RecordId {
        revision: Revision::from_be_bytes(*revision),
        place: u32::from_be_bytes(place.try_into().ok()?),
    })
}

/// The value of a record.
pub(crate) fn encode(event: &Event) -> Vec<u8> {
    let kv = &event.kv;
    let (kind, value) = match event.kind {
        EventKind::Put => (SET, &kv.value[..]),
        EventKind::Delete => (DELETED, &[][..]),
    };
    let mut bytes = Vec::with_capacity(HEADER + kv.key.len() + value.len());
    bytes.push(kind);
    for number in [kv.create_revision, kv.version, kv.lease.map_or(0, |lease| lease.0)] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    let key_length = u32::try_from(kv.key.len()).expect("keys are limited to a few kilobytes");
    bytes.extend_from_slice(&key_length.to_be_bytes());
    bytes.extend_from_slice(&kv.key);
    bytes.extend_from_slice(value);
    bytes
}

/// Reads what [`encode`] wrote; `None` if it is no such thing.
pub(crate) fn decode(id: RecordId, bytes: &[u8]) -> Option<Change> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let number = |index: usize| -> Option<u64> {
        let start = 1 + index * 8;
        Some(u64::from_be_bytes(header[start..start + 8].try_into().ok()?))
    };
    let key_length = u32::from_be_bytes(header[HEADER - 4..].try_into().ok()?) as usize;
    let (key, value) = rest.split_at_checked(key_length)?;
    let kind = match header[0] {
        SET => EventKind::Put,
        DELETED => EventKind::Delete,
        _ => return None,
    };
    let kv = Arc::new(KeyValue {
        key: Bytes::copy_from_slice(key),
        value: Bytes::copy_from_slice(value),
        create_revision: number(0)?,
        mod_revision: id.revision,
        version: number(1)?,
        lease: Some(number(2)?).filter(|&lease| lease != 0).map(LeaseId),
    });
    Some(Change { event: Event { kind, kv, previous: None }, record: Some(id) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, key: &'static str, value: &'static str, lease: Option<LeaseId>) -> Event {
        let kv = KeyValue {
            key: Bytes::from_static(key.as_bytes()),
            value: Bytes::from_static(value.as_bytes()),
            create_revision: 3,
            mod_revision: 7,
            version: 2,
            lease,
        };
        Event { kind, kv: Arc::new(kv), previous: None }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let id = RecordId { revision: 7, place: 1 };
        for event in [
            event(EventKind::Put, "pods/a", "{}", None),
            event(EventKind::Put, "", "", Some(LeaseId(9))),
            event(EventKind::Delete, "pods/a", "", None),
        ] {
            let change = decode(id, &encode(&event)).expect("a record");
            assert_eq!((change.event, change.record), (event, Some(id)));
        }
        assert_eq!(decode_id(&encode_id(id)), Some(id));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let id = RecordId { revision: 7, place: 0 };
        let good = encode(&event(EventKind::Put, "key", "", None));
        for cut in 0..good.len() {
            assert!(decode(id, &good[..cut]).is_none(), "cut to {cut} bytes");
        }
        assert!(decode(id, &[&[9u8][..], &good[1..]].concat()).is_none(), "unknown kind");
    }
}

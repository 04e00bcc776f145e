//! Keys, values and their changes.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::LeaseId;

/// Counts the writing transactions of a store; the first is 1. Never goes back, may skip after a
/// restart.
pub type Revision = u64;

/// One key with its value as of one revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value, shared with every reader and watcher.
    pub value: Bytes,
    /// When the key came into being (anew, after a deletion).
    pub create_revision: Revision,
    /// When the value was last set.
    pub mod_revision: Revision,
    /// How often the value has been set since the key came into being; the first time is 1.
    pub version: u64,
    /// The lease that the key is deleted with.
    pub lease: Option<LeaseId>,
}

impl KeyValue {
    /// What is left of a key that was deleted at `revision`: its name.
    pub(crate) fn deleted(key: Bytes, revision: Revision) -> Self {
        let (value, lease) = (Bytes::new(), None);
        Self { key, value, create_revision: 0, mod_revision: revision, version: 0, lease }
    }

    /// The key as text; keys in this project are UTF-8, others read as empty.
    pub fn key_str(&self) -> &str {
        std::str::from_utf8(&self.key).unwrap_or_default()
    }
}

/// One change of one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// Set or deleted.
    pub kind: EventKind,
    /// What was set; of a deletion, the key and the deletion's `mod_revision` and nothing else.
    pub kv: Arc<KeyValue>,
    /// What was there before, unless the key was absent or the history does not reach so far.
    pub previous: Option<Arc<KeyValue>>,
}

impl Event {
    /// The revision of the transaction that made the change.
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision
    }
}

/// What happened to a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// The key was set.
    Put,
    /// The key was deleted.
    Delete,
}

/// A range of keys in byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    start: Bytes,
    end: RangeEnd,
}

/// The bounds of a [`KeyRange`] for an ordered map.
pub(crate) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Where a [`KeyRange`] ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RangeEnd {
    /// The range is the one key `start`.
    Single,
    /// Before this key.
    Before(Bytes),
    /// With the last key of the store.
    Unbounded,
}

impl KeyRange {
    /// One key alone.
    pub fn key(key: impl Into<Key>) -> Self {
        Self { start: key.into().0, end: RangeEnd::Single }
    }

    /// All keys that begin with `prefix`; with an empty one, all keys.
    pub fn prefix(prefix: impl Into<Key>) -> Self {
        let start = prefix.into().0;
        let end = after_prefix(&start).map_or(RangeEnd::Unbounded, RangeEnd::Before);
        Self { start, end }
    }

    /// The keys from `start` on, and before `end`.
    pub fn between(start: impl Into<Key>, end: impl Into<Key>) -> Self {
        Self { start: start.into().0, end: RangeEnd::Before(end.into().0) }
    }

    /// The same range, but beginning just after `key`: where a listing goes on.
    pub fn after(self, key: impl Into<Key>) -> Self {
        let mut start = key.into().0.to_vec();
        start.push(0);
        let end = match self.end {
            RangeEnd::Single => RangeEnd::Before(next_key(&self.start)),
            end => end,
        };
        Self { start: self.start.max(Bytes::from(start)), end }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            RangeEnd::Single => key == self.start,
            RangeEnd::Before(end) => key >= &self.start[..] && key < &end[..],
            RangeEnd::Unbounded => key >= &self.start[..],
        }
    }

    /// The one key that the range was made for, if it was made for one.
    pub fn single(&self) -> Option<&Bytes> {
        matches!(self.end, RangeEnd::Single).then_some(&self.start)
    }

    /// The first key.
    pub(crate) fn start(&self) -> &Bytes {
        &self.start
    }

    /// Where it ends.
    pub(crate) fn end(&self) -> &RangeEnd {
        &self.end
    }

    /// The bounds for an ordered map; `None` if no key can lie between them.
    pub(crate) fn bounds(&self) -> Option<Bounds<'_>> {
        let start = &self.start[..];
        let end = match &self.end {
            RangeEnd::Single => Bound::Included(start),
            RangeEnd::Before(end) if end[..] <= *start => return None,
            RangeEnd::Before(end) => Bound::Excluded(&end[..]),
            RangeEnd::Unbounded => Bound::Unbounded,
        };
        Some((Bound::Included(start), end))
    }
}

/// A key, made from text or bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(pub(crate) Bytes);

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Key {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

/// The first key after all that begin with `prefix`; `None` if there is none.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

fn next_key(key: &[u8]) -> Bytes {
    let mut next = key.to_vec();
    next.push(0);
    Bytes::from(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(range: KeyRange, inside: &[&str], outside: &[&str]) {
        for key in inside {
            assert!(range.contains(key.as_bytes()), "{range:?} contains {key}");
        }
        for key in outside {
            assert!(!range.contains(key.as_bytes()), "{range:?} does not contain {key}");
        }
    }

    #[test]
    fn ranges_contain_what_their_names_say() {
        check(KeyRange::key("b"), &["b"], &["a", "ba", "c"]);
        check(KeyRange::prefix("b/"), &["b/", "b/x", "b/\u{ff}"], &["b", "b0", "c"]);
        check(KeyRange::prefix(""), &["", "z"], &[]);
        check(KeyRange::between("b", "d"), &["b", "c", "czz"], &["a", "d"]);
        check(KeyRange::prefix("b/").after("b/c"), &["b/c0", "b/d"], &["b/c", "b/b", "c"]);
        check(KeyRange::key("b").after("b"), &[], &["a", "b", "c"]);
    }

    #[test]
    fn a_prefix_of_the_highest_bytes_has_no_end() {
        let range = KeyRange::prefix(Bytes::from_static(&[0xff, 0xff]));
        assert!(range.contains(&[0xff, 0xff, 0xff]));
        assert!(!range.contains(&[0xff, 0xfe]));
    }
}

//! Which leases there are, which keys hang on them, and when they run out. Memory only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;

use crate::{Event, EventKind, KeyValue, LeaseId};

/// The leases of a store. Times are those of a steady clock.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    leases: HashMap<LeaseId, Lease>,
    deadlines: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Duration,
    keys: HashSet<Bytes>,
    /// It has run out and its keys are being deleted: it is no more, for whoever names it.
    ending: bool,
}

/// A lease that has run out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub(crate) id: LeaseId,
    /// The keys to delete now.
    pub(crate) keys: Vec<Bytes>,
    /// Whether these are all, so that it ends with them.
    pub(crate) whole: bool,
}

impl Leases {
    pub(crate) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Duration) {
        let deadline = now.saturating_add(ttl);
        self.deadlines.insert((deadline, id));
        self.leases.insert(id, Lease { ttl, deadline, keys: HashSet::new(), ending: false });
    }

    /// Begins the time to live anew; false if there is no such lease.
    pub(crate) fn renew(&mut self, id: LeaseId, now: Duration) -> bool {
        let Some(lease) = self.leases.get_mut(&id).filter(|lease| !lease.ending) else { return false };
        self.deadlines.remove(&(lease.deadline, id));
        lease.deadline = now.saturating_add(lease.ttl);
        self.deadlines.insert((lease.deadline, id));
        true
    }

    pub(crate) fn remove(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.deadlines.remove(&(lease.deadline, id));
        }
    }

    /// All leases with their time to live.
    pub(crate) fn all(&self) -> BTreeMap<LeaseId, Duration> {
        self.leases.iter().map(|(&id, lease)| (id, lease.ttl)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(crate) fn exists(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| !lease.ending)
    }

    /// The keys that hang on a lease.
    pub(crate) fn keys(&self, id: LeaseId) -> impl Iterator<Item = &Bytes> {
        self.leases.get(&id).into_iter().flat_map(|lease| &lease.keys)
    }

    /// The leases that have run out, with `most` keys to delete at most: what hangs on one lease may take
    /// several steps, and so may many leases that run out at one moment, as all do after a restart.
    pub(crate) fn expired(&mut self, now: Duration, most: usize) -> Vec<Expired> {
        let mut left = most;
        let mut expired = Vec::new();
        for &(_, id) in self.deadlines.iter().take_while(|&&(deadline, _)| deadline <= now) {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            if left == 0 && !lease.keys.is_empty() {
                break;
            }
            lease.ending = true;
            let keys: Vec<Bytes> = lease.keys.iter().take(left).cloned().collect();
            left -= keys.len();
            let whole = keys.len() == lease.keys.len();
            expired.push(Expired { id, keys, whole });
        }
        expired
    }

    /// When the next lease runs out.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Ties a key to its lease, if it has one.
    pub(crate) fn attach(&mut self, kv: &KeyValue) {
        if let Some(lease) = kv.lease.and_then(|lease| self.leases.get_mut(&lease)) {
            lease.keys.insert(kv.key.clone());
        }
    }

    /// Ties keys to leases and unties them, as a change says.
    pub(crate) fn apply(&mut self, event: &Event) {
        let old = event.previous.as_ref().and_then(|previous| previous.lease);
        let new = event.kv.lease.filter(|_| event.kind == EventKind::Put);
        if old == new {
            return;
        }
        if let Some(lease) = old.and_then(|old| self.leases.get_mut(&old)) {
            lease.keys.remove(&event.kv.key);
        }
        if event.kind == EventKind::Put {
            self.attach(&event.kv);
        }
    }
}

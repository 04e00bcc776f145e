//! Own writes that a cache has not shown yet.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::informer::Store;
use crate::resource::{ObjectKey, Resource};

/// How long to wait for the cache before going on without it.
const LIMIT: Duration = Duration::from_secs(10);

/// Keeps a reconciler from deciding on a copy that does not show what it wrote itself.
///
/// A reconciler that creates objects must know of the ones it made a moment ago, or it makes them
/// again. It notes every write here under the key that it reconciles, and waits at its beginning:
///
/// ```
/// # use client::{Freshness, ObjectKey, Store};
/// # use k8s_openapi::api::core::v1::Pod;
/// # async fn example(fresh: &Freshness<Pod>, key: &ObjectKey, created: &Pod) {
/// if !fresh.ready(key).await {
///     // The cache hangs behind: come back later instead of deciding on what is not true.
///     return;
/// }
/// // … create a pod, then:
/// fresh.created(key, created);
/// # }
/// ```
pub struct Freshness<K> {
    store: Store<K>,
    pending: Mutex<HashMap<ObjectKey, Pending>>,
}

/// What the cache has to show for one key.
#[derive(Clone, Default)]
struct Pending {
    revision: u64,
    deleted: Vec<(ObjectKey, String)>,
}

impl<K: Resource> Freshness<K> {
    /// Compares with the objects of `store`.
    pub fn new(store: Store<K>) -> Self {
        Self { store, pending: Mutex::default() }
    }

    /// Notes that the reconciler of `key` created or changed `object`, as the server returned it.
    pub fn created(&self, key: &ObjectKey, object: &K) {
        let mut pending = self.pending.lock();
        let pending = pending.entry(key.clone()).or_default();
        pending.revision = pending.revision.max(object.revision());
    }

    /// Notes that the reconciler of `key` deleted `object`, or began to.
    pub fn deleted(&self, key: &ObjectKey, object: &K) {
        let entry = (object.key(), object.uid().to_owned());
        self.pending.lock().entry(key.clone()).or_default().deleted.push(entry);
    }

    /// Forgets what was noted for a key that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        self.pending.lock().remove(key);
    }

    /// Whether the cache shows all that was noted for `key`; waits for it, for ten seconds at most.
    pub async fn ready(&self, key: &ObjectKey) -> bool {
        let Some(pending) = self.pending.lock().get(key).cloned() else { return true };
        if !self.is_shown(&pending)
            && tokio::time::timeout(LIMIT, self.store.until(|_| self.is_shown(&pending))).await.is_err()
        {
            tracing::warn!(%key, revision = pending.revision, "the cache does not show own writes in time");
            return false;
        }
        // The same key is never reconciled twice at once, so nothing was noted in between.
        self.pending.lock().remove(key);
        true
    }

    fn is_shown(&self, pending: &Pending) -> bool {
        self.store.is_synced()
            && self.store.revision() >= pending.revision
            && pending.deleted.iter().all(|(key, uid)| {
                self.store.get(key).is_none_or(|object| object.uid() != uid || object.is_being_deleted())
            })
    }
}

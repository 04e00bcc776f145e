//! Changes that are lost without harm, kept in memory above the store: the heartbeats of nodes.
//!
//! A node renews its lease every ten seconds. Written each time, an idle cluster would never let its disk
//! rest, and one of 5,000 nodes would write 500 times a second for nothing. So a change of which the
//! resource says that it passes ([`Resource::passing`]) is shown to readers and watchers as any other, with
//! a version of its own (`crate::version`), and the store keeps the object as it was. The store hears of the
//! newest when the server stops, with any other change of the object, and, where other servers stand
//! on it too, every few seconds: they do not see this one's memory. Of what changes no more they are shown
//! the last in a while ([`show_others`]).
//!
//! Optimistic locking holds: a change names the version that it was made from, which is the one in memory.
//! While one is being written the object takes no change in memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use model::{Encoded, Object};
use parking_lot::Mutex;
use store::{Compare, Op, Put, Revision, Txn};

use crate::cache::Stored;
use crate::resource::Resource;
use crate::state::{State, object_name};
use crate::storage::Raced;
use crate::version::{is_in_memory, revision_of, version_at};

/// How old what other servers are shown may be, besides the time between two heartbeats.
const OTHERS_SEE: Duration = Duration::from_secs(10);
/// How many objects are written at once when the server stops.
const AT_ONCE: usize = 64;

/// The objects that have changed in memory, by their keys in the store.
#[derive(Default)]
pub(crate) struct Passing(Mutex<HashMap<String, Entry>>);

#[derive(Default)]
struct Entry {
    /// How the object is in memory; none while it is as the store has it.
    changed: Option<Changed>,
    /// How many changes are being written.
    writing: usize,
}

#[derive(Clone)]
struct Changed {
    version: u64,
    value: Bytes,
    /// When the store wrote the object last, and what its first change in memory was since.
    revision: Revision,
    since: Duration,
}

/// A change on its way to the store. Until it is dropped, the object takes none in memory.
pub(crate) struct Writing<'a> {
    state: &'a State,
    key: Option<&'a str>,
    /// The revision that the store has the object at.
    pub(crate) revision: Revision,
}

/// Shows a change that passes, of the object at `version`. None where the store has to write it.
pub(crate) fn keep(state: &State, resource: &Resource, object: &Object, version: u64) -> Option<Arc<Stored>> {
    let namespace = object.namespace().unwrap_or_default();
    let (key, value) = (resource.key(namespace, object.name()), Encoded::encode(object));
    let now = state.clock.elapsed();
    let mut entries = state.passing.0.lock();
    let entry = entries.get(&key);
    if entry.is_some_and(|entry| entry.writing > 0) {
        return None;
    }
    let before = entry.and_then(|entry| entry.changed.as_ref()).filter(|before| before.version == version);
    let (revision, since) = match before {
        Some(before) => (before.revision, before.since),
        None if is_in_memory(version) => return None,
        None => (revision_of(version), now),
    };
    if state.store.is_shared() && now.saturating_sub(since) >= OTHERS_SEE {
        return None;
    }
    let name = object_name(namespace, object.name());
    let stored = state.cache.change_in_memory(&resource.storage.partition, &name, version, value.clone())?;
    let changed = Some(Changed { version: stored.revision(), value, revision, since });
    entries.insert(key, Entry { changed, writing: 0 });
    Some(stored)
}

/// Begins to write an object that memory has at `version`, 0 if it is new. Raced where it has another.
pub(crate) fn write<'a>(
    state: &'a State,
    resource: &Resource,
    key: &'a str,
    name: &str,
    version: u64,
) -> Result<Writing<'a>, Raced> {
    if version == 0 || resource.storage.is_passing.is_none() {
        return Ok(Writing { state, key: None, revision: revision_of(version) });
    }
    let mut entries = state.passing.0.lock();
    let shown = state.cache.partition(&resource.storage.partition).get(name);
    if shown.is_none_or(|shown| shown.revision() != version) {
        return Err(Raced);
    }
    let entry = entries.entry(key.to_owned()).or_default();
    let revision = match &entry.changed {
        Some(changed) if changed.version == version => changed.revision,
        _ if is_in_memory(version) => return Err(Raced),
        _ => revision_of(version),
    };
    entry.writing += 1;
    Ok(Writing { state, key: Some(key), revision })
}

impl Changed {
    /// Writes it, unless somebody has written the object since.
    fn write(&self, key: &str) -> Txn {
        Txn::new()
            .when(Compare::mod_revision(key.to_owned(), self.revision))
            .then(Op::Put(Put::new(key.to_owned(), self.value.clone())))
    }
}

impl Writing<'_> {
    /// It is written: what was in memory is nothing any more.
    pub(crate) fn done(&self) {
        if let Some(key) = self.key
            && let Some(entry) = self.state.passing.0.lock().get_mut(key)
        {
            entry.changed = None;
        }
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut entries = self.state.passing.0.lock();
        let Some(entry) = entries.get_mut(key) else { return };
        entry.writing -= 1;
        if entry.writing == 0 && entry.changed.is_none() {
            entries.remove(key);
        }
    }
}

/// Writes what has been in memory only for so long that others should see it, though nothing has come after
/// it since.
pub(crate) async fn show_others(state: &State) {
    if !state.store.is_shared() {
        return;
    }
    let now = state.clock.elapsed();
    let due: Vec<(String, Changed)> = {
        let entries = state.passing.0.lock();
        let due = entries.iter().filter_map(|(key, entry)| {
            let changed = entry.changed.clone()?;
            let due = entry.writing == 0 && now.saturating_sub(changed.since) >= OTHERS_SEE;
            due.then(|| (key.clone(), changed))
        });
        due.collect()
    };
    let writes = futures::stream::iter(due).map(async |(key, changed)| {
        let writing = {
            let mut entries = state.passing.0.lock();
            let same =
                |entry: &&mut Entry| entry.changed.as_ref().is_some_and(|c| c.version == changed.version);
            let Some(entry) = entries.get_mut(&key).filter(same) else { return Ok(()) };
            entry.writing += 1;
            Writing { state, key: Some(&key), revision: changed.revision }
        };
        let done = state.store.txn(changed.write(&key)).await?;
        if done.succeeded {
            // Until then it takes no change in memory, which this one would overtake.
            let _ = state.cache.wait_for(version_at(done.revision)).await;
            writing.done();
        }
        Ok(())
    });
    let written: Vec<Result<(), store::Error>> = writes.buffer_unordered(AT_ONCE).collect().await;
    if let Some(error) = written.into_iter().find_map(Result::err) {
        let error = base::error::chain(&error);
        tracing::warn!(%error, "other servers do not see the newest heartbeats of nodes yet");
    }
}

/// Forgets objects that others have written or deleted since.
pub(crate) fn trim(state: &State) {
    state.passing.0.lock().retain(|key, entry| {
        let shown = || state.cache.find(key).map(|stored| stored.revision());
        entry.writing > 0 || entry.changed.as_ref().is_some_and(|changed| shown() == Some(changed.version))
    });
}

/// Writes what is newest, unless somebody has written the object since.
pub(crate) async fn settle(state: &State) {
    let changed: Vec<(String, Changed)> = {
        let entries = state.passing.0.lock();
        entries.iter().filter_map(|(key, entry)| Some((key.clone(), entry.changed.clone()?))).collect()
    };
    let writes = futures::stream::iter(changed)
        .map(async |(key, changed)| state.store.txn(changed.write(&key)).await.map(drop));
    let written: Vec<_> = writes.buffer_unordered(AT_ONCE).collect().await;
    if let Some(error) = written.into_iter().find_map(Result::err) {
        tracing::warn!(error = %base::error::chain(&error), "the newest heartbeats of nodes are not kept");
    }
}

//! All objects in memory: the source of every read and watch.
//!
//! One task follows the store and applies its changes in the order of their revisions, each revision as a
//! whole. Keys are grouped into partitions, one per stored resource; each keeps its objects, as the
//! texts that the store holds, and its latest changes in a ring of bounded size and age. A watcher holds a
//! position, and references to what it is telling: it reads from the ring at its own pace, from the store's
//! history when the ring has moved past it, and starts over (410) when that has, too, so no slow client costs
//! memory.
//!
//! A write through this server is answered only after it has been applied here. Where others write below
//! [`ROOT`], too, which is so where the store is shared, a read first waits for what they have been told
//! (`crate::consistency`). Heartbeats of nodes (`crate::passing`) are applied here alone, until they are
//! written.

mod filling;
mod lanes;
mod outline;
mod partition;
mod recent;
mod served;
mod stored;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base::Clock;
use bytes::Bytes;
use parking_lot::RwLock;
use store::{Event, EventKind, KeyRange, KeyValue, Range, Store, Watch, WatchError, WatchMessage, Watcher};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::resource::Table;
use crate::version::{next_in_memory, revision_of, version_at};

use filling::Filling;
use outline::Places;

pub(crate) use lanes::Interest;
pub(crate) use partition::{Change, Follower, Partition, frame, frame_with};
pub(crate) use stored::Stored;

/// All keys of the API lie below this one.
pub(crate) const ROOT: &str = "/registry/";

/// How many changes may wait for the task that applies them.
const BUFFER: usize = 1 << 16;
/// How long a read waits for a revision that has not been applied yet.
const CATCH_UP: Duration = Duration::from_secs(3);

/// All objects in memory.
pub(crate) struct Cache {
    partitions: RwLock<HashMap<String, Arc<Partition>>>,
    /// All changes up to here are in the partitions.
    applied: tokio::sync::watch::Sender<u64>,
    /// Where history begins for partitions that are made later.
    origin: AtomicU64,
    /// Somebody waits to hear how far the store has come.
    progress_wanted: Notify,
    /// What objects of earlier versions may lack, by partition.
    fillings: RwLock<HashMap<String, Filling>>,
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
}

impl Cache {
    /// Reads everything there is; gives the watcher from which [`Cache::follow`] goes on.
    pub(crate) async fn load(
        store: &dyn Store,
        table: Arc<Table>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Watcher), store::Error> {
        let cache = Self {
            partitions: RwLock::default(),
            applied: tokio::sync::watch::Sender::new(0),
            origin: AtomicU64::new(0),
            progress_wanted: Notify::new(),
            fillings: RwLock::default(),
            table,
            clock,
        };
        cache.learn(store).await?;
        let watcher = cache.reload(store).await?;
        Ok((cache, watcher))
    }

    /// Applies the store's changes until `stop`. Begins anew by itself after a gap.
    pub(crate) async fn follow(&self, store: &dyn Store, mut watcher: Watcher, stop: CancellationToken) {
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return,
                () = self.progress_wanted.notified() => {
                    watcher.request_progress();
                    continue;
                }
                message = watcher.next() => message,
            };
            let mut message = Some(message);
            // Everything that is there already is applied before anyone is told, each revision as a whole:
            // all of its events are there where one of them is.
            let mut reached = 0;
            let mut failed = None;
            let mut whole: Vec<Event> = Vec::new();
            while let Some(next) = message {
                match next {
                    Ok(WatchMessage::Event(event)) => {
                        if event.revision() > reached {
                            self.apply(&whole);
                            whole.clear();
                        }
                        reached = event.revision();
                        whole.push(event);
                    }
                    Ok(WatchMessage::Progress(revision)) => reached = reached.max(revision),
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
                message = watcher.try_next();
            }
            self.apply(&whole);
            self.advance(version_at(reached));
            match failed {
                None => {}
                Some(WatchError::Closed) => return,
                Some(error) => {
                    tracing::warn!(error = %base::error::chain(&error), "begin to follow the store anew");
                    tokio::select! {
                        () = stop.cancelled() => return,
                        new = self.resume(store, watcher.told()) => watcher = new,
                    }
                }
            }
        }
    }

    /// The partition of that name, if there is one.
    pub(crate) fn known(&self, name: &str) -> Option<Arc<Partition>> {
        self.partitions.read().get(name).cloned()
    }

    /// The partition of a stored resource, for example `core/pods`; made if it is new.
    pub(crate) fn partition(&self, name: &str) -> Arc<Partition> {
        if let Some(partition) = self.partitions.read().get(name) {
            return partition.clone();
        }
        let mut partitions = self.partitions.write();
        partitions
            .entry(name.to_owned())
            .or_insert_with(|| {
                let all = self.table.all();
                let stored_here = all.iter().filter(|resource| resource.storage.partition == name);
                let places = Places::of(stored_here.map(AsRef::as_ref));
                Arc::new(Partition::new(places, self.origin.load(Ordering::Acquire)))
            })
            .clone()
    }

    /// Writes how many objects there are of each stored resource.
    pub(crate) fn write_numbers(&self, text: &mut metrics::Text) {
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        for resource in self.table.all().iter().filter(|resource| resource.unstored.is_none()) {
            let known = self.known(&resource.storage.partition);
            let count = known.map_or(0, |partition| partition.len());
            counts.insert((resource.group.clone(), resource.plural.clone()), count);
        }
        let help = "[ALPHA] Number of stored objects at the time of last check split by kind. In case of a fetching \
                    error, the value will be -1.";
        let block = text.block("apiserver_resource_objects", metrics::Kind::Gauge, help);
        for ((group, plural), count) in &counts {
            block.value(&[("group", group), ("resource", plural)], count);
        }
        let help = "[STABLE] [DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects \
                    at the time of last check split by kind. In case of a fetching error, the value will be -1.";
        let block = text.block("apiserver_storage_objects", metrics::Kind::Gauge, help);
        for ((group, plural), count) in &counts {
            let resource = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
            block.value(&[("resource", &resource)], count);
        }
    }

    /// Forgets changes that are older than watchers can go back.
    pub(crate) fn trim(&self) {
        let partitions: Vec<Arc<Partition>> = self.partitions.read().values().cloned().collect();
        let now = self.clock.elapsed();
        partitions.iter().for_each(|partition| partition.trim(now));
    }

    /// All changes up to this revision are visible.
    pub(crate) fn revision(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Whether all changes up to a version are visible; of one in memory only, those in the store.
    pub(crate) fn shows(&self, version: u64) -> bool {
        self.revision() >= version_at(revision_of(version))
    }

    /// Lets the store tell how far it has come, where nothing else tells it.
    pub(crate) fn ask_for_progress(&self) {
        self.progress_wanted.notify_one();
    }

    /// Waits a little until `revision` is visible; on failure gives the one that is. What another server has
    /// in memory only is not waited for.
    pub(crate) async fn wait_for(&self, revision: u64) -> Result<(), u64> {
        let revision = version_at(revision_of(revision));
        if self.revision() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let reached = tokio::time::timeout(CATCH_UP, applied.wait_for(|r| *r >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.revision()),
        }
    }

    /// An object by its key in the store.
    pub(crate) fn find(&self, key: &str) -> Option<Arc<Stored>> {
        let (partition, name) = split_key(key)?;
        self.partition(partition).get(name)
    }

    /// Changes an object that is at the version `expected` in memory only. None where the store has to
    /// write it: it is not as expected, or there is no version for it.
    ///
    /// The first one after a start is written: an earlier process may have given versions after the
    /// revision that this one began at.
    pub(crate) fn change_in_memory(
        &self,
        partition: &str,
        name: &str,
        expected: u64,
        text: Bytes,
    ) -> Option<Arc<Stored>> {
        let (partition, now) = (self.partition(partition), self.clock.elapsed());
        let origin = self.origin.load(Ordering::Acquire);
        let mut changed = None;
        // Nothing is told to be visible meanwhile that comes after the change.
        self.applied.send_if_modified(|applied| {
            let next = next_in_memory(*applied).filter(|_| revision_of(*applied) > revision_of(origin));
            let Some(next) = next else { return false };
            changed = partition.change_in_memory(name, expected, next, text.clone(), now);
            if changed.is_some() {
                *applied = next;
            }
            changed.is_some()
        });
        changed
    }

    /// Shows all changes of one revision, those of a partition at once, and then tells of them.
    fn apply(&self, events: &[Event]) {
        let Some(first) = events.first() else { return };
        let (version, now) = (version_at(first.revision()), self.clock.elapsed());
        let mut changes: BTreeMap<&str, Vec<partition::Happened<'_>>> = BTreeMap::new();
        for event in events {
            if let Some((partition, name)) = split_key(event.kv.key_str()) {
                let put = (event.kind == EventKind::Put).then(|| event.kv.value.clone());
                changes.entry(partition).or_default().push((name, put));
            }
        }
        let shown: Vec<_> = changes
            .into_iter()
            .map(|(partition, changes)| {
                let partition = self.partition(partition);
                let news = partition.apply(changes, version, now);
                (partition, news)
            })
            .collect();
        // Whoever waits at one of them finds all of it in the others too.
        for (partition, news) in shown {
            partition.tell(&news);
        }
    }

    fn advance(&self, revision: u64) {
        self.applied.send_if_modified(|applied| {
            let news = revision > *applied;
            *applied = (*applied).max(revision);
            news
        });
    }

    /// Reads everything anew, as often as it takes.
    pub(crate) async fn renew(&self, store: &dyn Store) -> Watcher {
        let mut backoff = base::backoff::Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            match self.reload(store).await {
                Ok(watcher) => return watcher,
                Err(error) => {
                    tracing::error!(error = %base::error::chain(&error), "the store cannot be read");
                    tokio::time::sleep(backoff.next_delay()).await;
                }
            }
        }
    }

    /// Goes on after `told` if the store's history reaches back so far, else reads everything anew.
    async fn resume(&self, store: &dyn Store, told: u64) -> Watcher {
        let mut backoff = base::backoff::Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let request = Watch::new(KeyRange::prefix(ROOT)).after(told).buffer(BUFFER);
            let error = match store.watch(request).await {
                Ok(watcher) => return watcher,
                Err(store::Error::Compacted { .. }) => match self.reload(store).await {
                    Ok(watcher) => return watcher,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            tracing::error!(error = %base::error::chain(&error), "the store cannot be followed");
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn reload(&self, store: &dyn Store) -> Result<Watcher, store::Error> {
        let all = store.range(Range::new(KeyRange::prefix(ROOT))).await?;
        let mut found: HashMap<&str, Vec<(&str, &KeyValue)>> = HashMap::new();
        for kv in &all.items {
            if let Some((partition, name)) = split_key(kv.key_str()) {
                found.entry(partition).or_default().push((name, kv));
            }
        }
        // What was shown in memory only is nothing any more: whoever has seen it begins anew.
        let version = self.revision().max(version_at(all.revision));
        self.origin.store(version, Ordering::Release);
        for name in found.keys() {
            self.partition(name);
        }
        let partitions: Vec<(String, Arc<Partition>)> =
            self.partitions.read().iter().map(|(n, p)| (n.clone(), p.clone())).collect();
        for (name, partition) in partitions {
            let found = found.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            let objects = found.iter().map(|(object, kv)| self.read(&partition, &name, object, kv));
            partition.replace(objects, version);
        }
        self.advance(version);
        store.watch(Watch::new(KeyRange::prefix(ROOT)).after(all.revision).buffer(BUFFER)).await
    }
}

/// The key of an object: `/registry/GROUP/RESOURCE/NAMESPACE/NAME`, without the namespace for what is
/// cluster-wide. The core group is called `core`.
pub(crate) fn key(partition: &str, namespace: &str, name: &str) -> String {
    if namespace.is_empty() {
        format!("{ROOT}{partition}/{name}")
    } else {
        format!("{ROOT}{partition}/{namespace}/{name}")
    }
}

/// Partition and the rest of a key.
fn split_key(key: &str) -> Option<(&str, &str)> {
    let rest = key.strip_prefix(ROOT)?;
    let group_end = rest.find('/')?;
    let resource_end = group_end + 1 + rest[group_end + 1..].find('/')?;
    Some((&rest[..resource_end], &rest[resource_end + 1..]))
}

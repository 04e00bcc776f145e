//! The copy itself: objects by key, with indexes, and how far it has come.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use model::select::LabelSelector;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::Change;
use super::index::Index;
use crate::resource::{ObjectKey, Resource};

/// The index that every store has: the uid of the managing owner.
const CONTROLLER: &str = "controller";

/// Objects of one kind, read-only for everybody but the informer that keeps it. Cheap to clone.
///
/// It may lag behind the server: see [`crate::Freshness`] for what to do about one's own writes.
pub struct Store<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    state: RwLock<State<K>>,
    progress: watch::Sender<Progress>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: Vec<Index<K>>,
}

/// How far a store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    synced: bool,
    revision: u64,
    changes: u64,
}

impl<K: Resource> Store<K> {
    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.shared.state.read().objects.get(key).cloned()
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.shared.state.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let from = ObjectKey::new(namespace, "");
        let objects = state.objects.range(from..).take_while(|(key, _)| key.namespace == namespace);
        objects.map(|(_, object)| object.clone()).collect()
    }

    /// The objects of one namespace that a selector selects; of all if the namespace is empty.
    pub fn select(&self, namespace: &str, selector: &LabelSelector) -> Vec<Arc<K>> {
        let mut objects = if namespace.is_empty() { self.list() } else { self.list_namespace(namespace) };
        objects.retain(|object| object.is_selected(selector));
        objects
    }

    /// The objects whose managing owner has this uid.
    pub fn by_controller(&self, uid: &str) -> Vec<Arc<K>> {
        self.by_index(CONTROLLER, uid)
    }

    /// The objects for which the index `name` gives `value`; none if there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.shared.state.read();
        let index = state.indexes.iter().find(|index| index.name == name);
        debug_assert!(index.is_some(), "there is no index {name}");
        let keys = index.into_iter().flat_map(|index| index.get(value));
        keys.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        self.shared.progress.borrow().synced
    }

    /// Waits until the first list is in.
    pub async fn synced(&self) {
        self.wait(|progress| progress.synced).await;
    }

    /// The newest revision that the copy is known to show.
    pub fn revision(&self) -> u64 {
        self.shared.progress.borrow().revision
    }

    /// Waits until the copy shows what was written at `revision`: that of an object of this very
    /// kind, as a write returned it. Others may never be seen here.
    pub async fn reached(&self, revision: u64) {
        self.wait(|progress| progress.synced && progress.revision >= revision).await;
    }

    /// Waits until `holds` does, which is looked at after every change.
    pub async fn until(&self, mut holds: impl FnMut(&Self) -> bool) {
        self.wait(|_| holds(self)).await;
    }

    pub(super) fn add_index(&self, mut index: Index<K>) {
        let mut state = self.shared.state.write();
        if state.indexes.iter().any(|other| other.name == index.name) {
            return;
        }
        state.objects.iter().for_each(|(key, object)| index.insert(key, object));
        state.indexes.push(index);
    }

    /// Takes a whole list in.
    pub(super) fn replace(&self, objects: Vec<K>, revision: u64) -> Vec<Change<K>> {
        let mut state = self.shared.state.write();
        let listed: HashSet<ObjectKey> = objects.iter().map(Resource::key).collect();
        let gone: Vec<ObjectKey> =
            state.objects.keys().filter(|key| !listed.contains(key)).cloned().collect();
        let mut changes: Vec<Change<K>> = gone.iter().filter_map(|key| state.remove(key, None)).collect();
        changes.extend(objects.into_iter().filter_map(|object| state.insert(object)));
        drop(state);
        self.advance(revision, true);
        changes
    }

    /// Takes an object in that is there.
    pub(super) fn insert(&self, object: K) -> Vec<Change<K>> {
        let revision = object.revision();
        let change = self.shared.state.write().insert(object);
        self.advance(revision, false);
        change.into_iter().collect()
    }

    /// Takes an object out that is gone.
    pub(super) fn remove(&self, object: K) -> Vec<Change<K>> {
        let revision = object.revision();
        let change = self.shared.state.write().remove(&object.key(), Some(object));
        self.advance(revision, false);
        change.into_iter().collect()
    }

    /// Notes that everything up to `revision` has been told.
    pub(super) fn advance(&self, revision: u64, synced: bool) {
        self.shared.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(revision);
            progress.synced |= synced;
            progress.changes += 1;
        });
    }

    async fn wait(&self, mut holds: impl FnMut(&Progress) -> bool) {
        let mut progress = self.shared.progress.subscribe();
        loop {
            // Copied, so that nothing is borrowed while the condition looks at the store.
            let now = *progress.borrow_and_update();
            if holds(&now) {
                return;
            }
            progress.changed().await.expect("the store that is waited for holds the sender");
        }
    }
}

impl<K: Resource> Default for Store<K> {
    fn default() -> Self {
        let by_controller = Index::new(CONTROLLER, |object: &K| {
            object.controller().map(|owner| owner.uid).into_iter().collect()
        });
        let state = State { objects: BTreeMap::new(), indexes: vec![by_controller] };
        let progress = watch::Sender::new(Progress::default());
        Self { shared: Arc::new(Shared { state: RwLock::new(state), progress }) }
    }
}

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<K: Resource> State<K> {
    fn insert(&mut self, object: K) -> Option<Change<K>> {
        let key = object.key();
        let new = Arc::new(object);
        let old = self.objects.insert(key.clone(), new.clone());
        if let Some(old) = &old {
            self.indexes.iter_mut().for_each(|index| index.remove(&key, old));
        }
        self.indexes.iter_mut().for_each(|index| index.insert(&key, &new));
        match old {
            None => Some(Change::Added(new)),
            // A list after a broken watch mostly brings what is known.
            Some(old) if old.uid() == new.uid() && old.resource_version() == new.resource_version() => None,
            Some(old) => Some(Change::Updated { old, new }),
        }
    }

    fn remove(&mut self, key: &ObjectKey, last: Option<K>) -> Option<Change<K>> {
        let old = self.objects.remove(key)?;
        self.indexes.iter_mut().for_each(|index| index.remove(key, &old));
        Some(Change::Deleted(last.map_or(old, Arc::new)))
    }
}

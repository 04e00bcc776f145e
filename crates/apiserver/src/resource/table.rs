//! The table itself: entries by group, version and name, replaced as a whole when one is added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::gvk::GroupVersion;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{ANY, Resource};

/// All resources that are served. Reading takes a snapshot; adding an entry makes a new table.
#[derive(Debug, Default)]
pub struct Table {
    entries: RwLock<Arc<Entries>>,
    changes: watch::Sender<()>,
}

/// By group, version and plural name.
pub(crate) type Entries = BTreeMap<(String, String, String), Arc<Resource>>;

impl Table {
    /// A table of `resources`.
    pub fn new(resources: impl IntoIterator<Item = Resource>) -> Self {
        let table = Self::default();
        for resource in resources {
            table.insert(resource);
        }
        table
    }

    /// Adds an entry, or replaces the one of the same group, version and plural name.
    pub fn insert(&self, resource: Resource) {
        let mut entries = self.entries.write();
        let key = (resource.group.clone(), resource.version.clone(), resource.plural.clone());
        Arc::make_mut(&mut entries).insert(key, Arc::new(resource));
        drop(entries);
        self.changes.send_replace(());
    }

    /// Removes an entry.
    pub fn remove(&self, group: &str, version: &str, plural: &str) {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        Arc::make_mut(&mut *self.entries.write()).remove(&key);
        self.changes.send_replace(());
    }

    /// The entry of that group, version and plural name, or the one of any name.
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let key = |plural: &str| (group.to_owned(), version.to_owned(), plural.to_owned());
        let entries = self.entries.read();
        entries.get(&key(plural)).or_else(|| entries.get(&key(ANY))).cloned()
    }

    /// The entry of that name; of any version where that is empty or `*`.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        if !matches!(version, "" | "*") {
            return self.get(group, version, plural);
        }
        let entries = self.entries.read();
        entries.values().find(|entry| entry.group == group && entry.plural == plural).cloned()
    }

    /// All entries as they are now. What is derived from them holds as long as they are the same ones
    /// ([`Arc::ptr_eq`]).
    pub(crate) fn entries(&self) -> Arc<Entries> {
        self.entries.read().clone()
    }

    /// Tells when an entry was added, replaced or removed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The group versions that there are entries of.
    pub(crate) fn versions(&self) -> BTreeSet<GroupVersion> {
        let entries = self.entries.read();
        entries
            .keys()
            .map(|(group, version, _)| GroupVersion::new(group.as_str(), version.as_str()))
            .collect()
    }

    /// All entries, in the order of group, version and plural name.
    pub fn all(&self) -> Vec<Arc<Resource>> {
        self.entries.read().values().cloned().collect()
    }
}

//! The table itself: entries by group, version and name, replaced as a whole when one is added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::gvk::GroupVersion;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::{ANY, Resource};

/// All resources that are served. Reading takes a snapshot; adding an entry makes a new table.
#[derive(Debug, Default)]
pub struct Table {
    entries: RwLock<Arc<Entries>>,
    changes: watch::Sender<()>,
    /// The entries that objects define, of all.
    defined: Mutex<BTreeMap<Key, Arc<Resource>>>,
}

/// By group, version and plural name.
pub(crate) type Entries = BTreeMap<Key, Arc<Resource>>;

type Key = (String, String, String);

fn key(resource: &Resource) -> Key {
    (resource.group.clone(), resource.version.clone(), resource.plural.clone())
}

fn has_built_in(entries: &Entries, group: &str, plural: &str) -> bool {
    let of_group = entries.range((group.to_owned(), String::new(), String::new())..);
    of_group
        .take_while(|((of, ..), _)| of == group)
        .any(|(_, entry)| entry.plural == plural && entry.retired.is_none())
}

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
        Arc::make_mut(&mut entries).insert(key(&resource), Arc::new(resource));
        drop(entries);
        self.changes.send_replace(());
    }

    /// Serves these besides what is built in, and nothing else that objects have defined before. What is built in
    /// keeps its name. Who watches something that is not the same any more is told to begin anew.
    pub(crate) fn define(&self, resources: Vec<Arc<Resource>>) {
        let mut defined = self.defined.lock();
        let mut now: BTreeMap<Key, Arc<Resource>> = BTreeMap::new();
        {
            let entries = self.entries.read();
            for resource in resources {
                // Its objects would be kept among those of what is built in, whatever the versions are called.
                if !has_built_in(&entries, &resource.group, &resource.plural) {
                    now.insert(key(&resource), resource);
                }
            }
        }
        let is_known = |key: &Key, resource: &Arc<Resource>| {
            defined.get(key).is_some_and(|known| Arc::ptr_eq(known, resource))
        };
        let gone: Vec<Key> = defined.keys().filter(|key| !now.contains_key(*key)).cloned().collect();
        let new: Vec<(Key, Arc<Resource>)> = now
            .iter()
            .filter(|(key, entry)| !is_known(key, entry))
            .map(|(k, e)| (k.clone(), e.clone()))
            .collect();
        if gone.is_empty() && new.is_empty() {
            return;
        }
        {
            let mut entries = self.entries.write();
            let entries = Arc::make_mut(&mut entries);
            for key in &gone {
                if entries.get(key).is_some_and(|entry| entry.retired.is_some()) {
                    entries.remove(key);
                }
            }
            for (key, entry) in &new {
                if entries.get(key).is_none_or(|known| known.retired.is_some()) {
                    entries.insert(key.clone(), entry.clone());
                }
            }
        }
        for (key, before) in &*defined {
            let after = now.get(key).and_then(|entry| entry.retired.as_ref());
            if let Some(retired) = before
                .retired
                .as_ref()
                .filter(|retired| after.is_none_or(|after| !Arc::ptr_eq(retired, after)))
            {
                retired.cancel();
            }
        }
        *defined = now;
        drop(defined);
        self.changes.send_replace(());
    }

    /// Whether a resource of that group and plural name is built in, in whichever version.
    pub(crate) fn is_built_in(&self, group: &str, plural: &str) -> bool {
        has_built_in(&self.entries.read(), group, plural)
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

#[cfg(test)]
mod tests {
    use model::GroupVersionKind;

    use super::*;

    fn resource(group: &str, version: &str, plural: &str) -> Resource {
        Resource::new(&GroupVersionKind::new(group, version, "K"), plural)
    }

    #[test]
    fn what_is_built_in_is_defined_in_no_version() {
        let table = Table::new([resource("rbac.a.io", "v1", "clusterroles"), resource("z.io", "v1", "zs")]);
        let defined =
            |group: &str, version: &str, plural: &str| Arc::new(resource(group, version, plural).defined());
        table.define(vec![
            defined("rbac.a.io", "v1", "clusterroles"),
            defined("rbac.a.io", "v9", "clusterroles"),
            defined("rbac.a.io", "v9", "others"),
            defined("y.io", "v1", "zs"),
        ]);
        let retired = |group: &str, version: &str, plural: &str| {
            table.get(group, version, plural).map(|entry| entry.retired.is_some())
        };
        assert_eq!(retired("rbac.a.io", "v1", "clusterroles"), Some(false));
        assert_eq!(retired("rbac.a.io", "v9", "clusterroles"), None);
        assert_eq!(retired("rbac.a.io", "v9", "others"), Some(true));
        assert_eq!(retired("y.io", "v1", "zs"), Some(true));
        for (group, plural, is) in [
            ("rbac.a.io", "clusterroles", true),
            ("rbac.a.io", "others", false),
            ("y.io", "zs", false),
            ("z.io", "zs", true),
            ("z.i", "zs", false),
        ] {
            assert_eq!(table.is_built_in(group, plural), is, "{plural}.{group}");
        }
    }
}

//! A secondary index over the objects of a store.

use std::collections::{BTreeSet, HashMap};

use crate::resource::ObjectKey;

type KeysOf<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// Finds objects by what a function gives for them.
pub(crate) struct Index<K> {
    pub(crate) name: &'static str,
    keys_of: KeysOf<K>,
    entries: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K> Index<K> {
    pub(crate) fn new(
        name: &'static str,
        keys_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name, keys_of: Box::new(keys_of), entries: HashMap::new() }
    }

    /// The objects that have `value`, in order.
    pub(crate) fn get(&self, value: &str) -> impl Iterator<Item = &ObjectKey> {
        self.entries.get(value).into_iter().flatten()
    }

    pub(crate) fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys_of)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys_of)(object) {
            if let Some(keys) = self.entries.get_mut(&value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.entries.remove(&value);
                }
            }
        }
    }
}

//! A secondary index over the objects of a store.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

type KeysOf<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// Finds objects by what a function gives for them.
pub(crate) struct Index<K> {
    pub(crate) name: &'static str,
    keys_of: KeysOf<K>,
    /// By value, the names of the objects in the store.
    entries: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl<K> Index<K> {
    pub(crate) fn new(
        name: &'static str,
        keys_of: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        Self { name, keys_of: Box::new(keys_of), entries: HashMap::new() }
    }

    /// The objects that have `value`, in order.
    pub(crate) fn get(&self, value: &str) -> impl Iterator<Item = &Arc<str>> {
        self.entries.get(value).into_iter().flatten()
    }

    /// Those of one namespace that have `value`, in order.
    pub(crate) fn get_within(&self, namespace: &str, value: &str) -> impl Iterator<Item = &Arc<str>> {
        let first = format!("{namespace}\0");
        let from = (Bound::Included(first.as_str()), Bound::Unbounded);
        let names = self.entries.get(value).map(|names| names.range::<str, _>(from));
        names.into_iter().flatten().take_while(move |name| name.starts_with(&first))
    }

    /// Takes an object in; gives its values, by which [`Index::remove`] takes it out.
    pub(crate) fn insert(&mut self, name: &Arc<str>, object: &K) -> Vec<Arc<str>> {
        let mut values: Vec<Arc<str>> = Vec::new();
        for value in (self.keys_of)(object) {
            let value = match self.entries.get_key_value(value.as_str()) {
                Some((known, _)) => known.clone(),
                None => Arc::from(value),
            };
            self.entries.entry(value.clone()).or_default().insert(name.clone());
            values.push(value);
        }
        values
    }

    pub(crate) fn remove(&mut self, name: &Arc<str>, value: &str) {
        let Some(names) = self.entries.get_mut(value) else { return };
        names.remove(name);
        if names.is_empty() {
            self.entries.remove(value);
        }
    }
}

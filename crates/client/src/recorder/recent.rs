//! A map that forgets what was not looked at for longest.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most so many values, those that were looked at last.
pub(super) struct Recent<K, V> {
    most: usize,
    entries: HashMap<K, Entry<V>>,
    /// Keys by when they were looked at.
    order: BTreeMap<u64, K>,
    looks: u64,
}

struct Entry<V> {
    value: V,
    looked: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// For `most` values.
    pub(super) fn new(most: usize) -> Self {
        Self { most, entries: HashMap::new(), order: BTreeMap::new(), looks: 0 }
    }

    /// A value, if it is remembered.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let entry = self.entries.get_mut(key)?;
        self.looks += 1;
        self.order.remove(&entry.looked);
        self.order.insert(self.looks, key.clone());
        entry.looked = self.looks;
        Some(&mut entry.value)
    }

    /// Remembers a value; the one that was not looked at for longest is forgotten for it.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.looks += 1;
        let entry = Entry { value, looked: self.looks };
        if let Some(old) = self.entries.insert(key.clone(), entry) {
            self.order.remove(&old.looked);
        }
        self.order.insert(self.looks, key);
        while self.entries.len() > self.most {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.order.len());
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_for_longest_is_forgotten() {
        let mut recent = Recent::new(3);
        for key in ["a", "b", "c", "a"] {
            recent.insert(key, key.len());
        }
        assert!(recent.get(&"b").is_some());
        recent.insert("d", 1);
        assert_eq!(recent.len(), 3);
        let left = ["a", "b", "c", "d"].map(|key| recent.get(&key).is_some());
        assert_eq!(left, [true, true, false, true]);
    }
}

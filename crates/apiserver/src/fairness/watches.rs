//! How many watch what: a change costs what telling them of it does.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::request::ResourceTarget;

/// Watches by what they are for. Two that are for different things may rarely be taken for the same.
#[derive(Default)]
pub(crate) struct Watches {
    keys: RandomState,
    counts: Mutex<HashMap<u64, usize>>,
}

/// A watch, until it is dropped.
pub(crate) struct Watching {
    watches: Arc<Watches>,
    key: u64,
}

impl Watches {
    /// Somebody watches what the path names, or the object of that name alone.
    pub(crate) fn enter(self: &Arc<Self>, target: &ResourceTarget, name: &str) -> Watching {
        let name = if name.is_empty() { target.name.as_str() } else { name };
        let key = self.key(target, &target.namespace, name);
        *self.counts.lock().entry(key).or_default() += 1;
        Watching { watches: self.clone(), key }
    }

    /// How many are told of a change of what the path names: those who watch all of it, its namespace, and itself.
    pub(super) fn of(&self, target: &ResourceTarget) -> usize {
        let counts = self.counts.lock();
        if counts.is_empty() {
            return 0;
        }
        let of =
            |namespace, name| counts.get(&self.key(target, namespace, name)).copied().unwrap_or_default();
        let mut count = of("", "");
        if !target.namespace.is_empty() {
            count += of(&target.namespace, "");
        }
        if !target.name.is_empty() {
            count += of(&target.namespace, &target.name);
        }
        count
    }

    fn key(&self, target: &ResourceTarget, namespace: &str, name: &str) -> u64 {
        self.keys.hash_one((&target.group, &target.resource, namespace, name))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut counts = self.watches.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_to_who_watches_it_its_namespace_or_all() {
        let watches = Arc::new(Watches::default());
        let target = |namespace: &str, name: &str| ResourceTarget {
            resource: "pods".to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..ResourceTarget::default()
        };
        let held = [("", ""), ("", ""), ("a", ""), ("a", "x"), ("b", "")]
            .map(|(namespace, name)| watches.enter(&target(namespace, ""), name));
        assert_eq!(watches.of(&target("a", "x")), 4);
        assert_eq!(watches.of(&target("a", "y")), 3);
        assert_eq!(watches.of(&target("c", "x")), 2);
        let services = ResourceTarget { resource: "services".to_owned(), ..target("a", "x") };
        assert_eq!(watches.of(&services), 0);
        drop(held);
        assert!(watches.counts.lock().is_empty());
    }
}

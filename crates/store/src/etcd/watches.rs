//! The watches that are open, to be counted.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::watch::Sender;

/// So many may be there before those that are over are looked for.
const FEW: usize = 64;

/// The watches that were begun and not seen to be over since.
#[derive(Default)]
pub(super) struct Watches(Mutex<List>);

struct List {
    watches: Vec<Arc<Sender>>,
    /// How many there may be before those that are over are looked for.
    limit: usize,
}

impl Watches {
    /// One more. Those that are over are forgotten in time: there are never many more than twice as many as
    /// are open.
    pub(super) fn add(&self, watch: Arc<Sender>) {
        let mut list = self.0.lock();
        if list.watches.len() >= list.limit {
            list.forget();
            list.limit = 2 * list.watches.len() + FEW;
        }
        list.watches.push(watch);
    }

    /// How many are open.
    pub(super) fn count(&self) -> usize {
        let mut list = self.0.lock();
        list.forget();
        list.watches.len()
    }
}

impl List {
    fn forget(&mut self) {
        self.watches.retain(|watch| !watch.is_abandoned());
    }
}

impl Default for List {
    fn default() -> Self {
        Self { watches: Vec::new(), limit: FEW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyRange, Watch};

    #[test]
    fn watches_that_are_over_are_forgotten_without_being_counted() {
        let watches = Watches::default();
        let begin = || {
            let (sender, watcher) = crate::watch::remote(Watch::new(KeyRange::prefix("")), 0);
            watches.add(Arc::new(sender));
            watcher
        };
        let open: Vec<_> = (0..100).map(|_| begin()).collect();
        for _ in 0..10_000 {
            drop(begin());
            assert!(watches.0.lock().watches.len() <= 2 * 100 + FEW);
        }
        assert_eq!(watches.count(), 100);
        drop(open);
        assert_eq!(watches.count(), 0);
    }
}

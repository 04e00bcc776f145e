//! Places of which there are so many, and for each asker no more than a part.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The places.
pub(super) struct Shares {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_asker: HashMap<String, usize>,
}

/// A place, until it is dropped.
pub(super) struct Share {
    shares: Arc<Shares>,
    asker: String,
}

impl Shares {
    /// So many places for all, and for each.
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A place for `asker`, if there is one.
    pub(super) fn take(self: &Arc<Self>, asker: &str) -> Option<Share> {
        let mut taken = self.taken.lock();
        let of_asker = taken.by_asker.get(asker).copied().unwrap_or_default();
        if taken.all >= self.all || of_asker >= self.each {
            return None;
        }
        taken.all += 1;
        taken.by_asker.insert(asker.to_owned(), of_asker + 1);
        Some(Share { shares: self.clone(), asker: asker.to_owned() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock();
        taken.all -= 1;
        if let Some(of_asker) = taken.by_asker.get_mut(&self.asker) {
            *of_asker -= 1;
            if *of_asker == 0 {
                taken.by_asker.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_more_than_a_part_and_all_together_no_more_than_there_are() {
        let shares = Shares::new(5, 2);
        let take = |asker: &str| std::iter::from_fn(|| shares.take(asker)).collect::<Vec<_>>();
        let (a, b, c) = (take("a"), take("b"), take("c"));
        assert_eq!((a.len(), b.len(), c.len()), (2, 2, 1));
        drop(a);
        assert_eq!((take("b").len(), take("d").len()), (0, 2));
        drop((b, c));
        assert!(shares.taken.lock().by_asker.is_empty());
    }
}

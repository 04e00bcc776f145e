//! Connections over TCP whose client is not known yet: anybody who reaches the port makes as many as they like.
//!
//! There may be so many at a time. When there are, the oldest goes: it had the most time to say who it is, and
//! whoever only connects locks nobody out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// All strangers.
#[derive(Clone)]
pub(crate) struct Strangers {
    most: usize,
    here: Arc<Mutex<Here>>,
}

#[derive(Default)]
struct Here {
    /// In the order in which they came.
    all: BTreeMap<u64, CancellationToken>,
    next: u64,
}

/// One of them, until it is dropped: then it is known, or has gone.
pub(crate) struct Stranger {
    strangers: Strangers,
    number: u64,
    sent_away: CancellationToken,
}

impl Strangers {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, here: Arc::default() }
    }

    /// One more, in place of the oldest if there is no place.
    pub(crate) fn enter(&self) -> Stranger {
        let sent_away = CancellationToken::new();
        let mut here = self.here.lock();
        while here.all.len() >= self.most
            && let Some((_, oldest)) = here.all.pop_first()
        {
            oldest.cancel();
        }
        let number = here.next;
        here.next += 1;
        here.all.insert(number, sent_away.clone());
        drop(here);
        Stranger { strangers: self.clone(), number, sent_away }
    }
}

impl Stranger {
    /// Cancelled when it has to make room; not when it is known by then.
    pub(crate) fn sent_away(&self) -> CancellationToken {
        self.sent_away.clone()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.here.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_who_is_known_does_not() {
        let strangers = Strangers::new(2);
        let (first, second) = (strangers.enter(), strangers.enter());
        let is_away = |stranger: &Stranger| stranger.sent_away().is_cancelled();
        assert!(!is_away(&first) && !is_away(&second));
        let third = strangers.enter();
        assert!(is_away(&first) && !is_away(&second) && !is_away(&third));
        let known = second.sent_away();
        drop(second);
        let all: Vec<Stranger> = (0..1000).map(|_| strangers.enter()).collect();
        assert!(!known.is_cancelled() && is_away(&third));
        assert_eq!(all.iter().filter(|stranger| !is_away(stranger)).count(), 2);
        drop(all);
        assert!(strangers.here.lock().all.is_empty());
    }
}

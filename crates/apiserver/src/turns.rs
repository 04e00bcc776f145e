//! Writes that wait for each other: of each namespace one at a time.
//!
//! Whoever changes something along with an object does so on condition that nobody else has changed it. In one
//! server that is kept from being tried in vain; between several the store decides, and who was slower tries
//! again.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::Status;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::error::Result;

/// How long a write waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// With so many namespaces those are forgotten in which nobody waits.
const KEPT: usize = 256;

/// The turns of all namespaces.
#[derive(Default)]
pub(crate) struct Turns {
    known: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// The right to write, as long as it is held.
#[derive(Debug)]
pub(crate) struct Turn(#[allow(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Turns {
    /// Waits until it is the caller's turn in a namespace.
    pub(crate) async fn take(&self, namespace: &str) -> Result<Turn> {
        let queue = {
            let mut known = self.known.lock();
            if known.len() >= KEPT {
                known.retain(|_, queue| queue.strong_count() > 0);
            }
            match known.get(namespace).and_then(Weak::upgrade) {
                Some(queue) => queue,
                None => {
                    let queue = Arc::default();
                    known.insert(namespace.to_owned(), Arc::downgrade(&queue));
                    queue
                }
            }
        };
        match tokio::time::timeout(PATIENCE, queue.lock_owned()).await {
            Ok(turn) => Ok(Turn(turn)),
            Err(_) => Err(Status::timeout("resource quota evaluation timed out", 1).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_in_a_namespace_and_none_is_kept_without_need() {
        let turns = Arc::new(Turns::default());
        let at_once = Arc::new(AtomicUsize::new(0));
        let one = || {
            let (turns, at_once) = (Arc::clone(&turns), Arc::clone(&at_once));
            async move {
                let _turn = turns.take("n").await.expect("a turn");
                assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "somebody else has it too");
                tokio::task::yield_now().await;
                at_once.fetch_sub(1, Ordering::SeqCst);
            }
        };
        futures::future::join_all((0..20).map(|_| one())).await;
        let held = turns.take("n").await.expect("a turn");
        let _other = turns.take("o").await.expect("another namespace's");
        drop(held);
        for namespace in 0..2 * KEPT {
            turns.take(&namespace.to_string()).await.expect("a turn");
        }
        assert!(turns.known.lock().len() <= KEPT + 1);
    }
}

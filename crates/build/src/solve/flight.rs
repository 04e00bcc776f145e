//! Operations that are under way, by their keys: who asks for one that is waits for it, and hears what it says.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures::StreamExt;
use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use super::event::{Event, EventLog};

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Digest, Weak<State>>>,
}

#[derive(Debug)]
struct State {
    turn: Arc<Turn<()>>,
    said: EventLog,
}

/// The right to do an operation; the next in line has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Arc<State>,
    _turn: OwnedMutexGuard<()>,
    /// Somebody else did it before.
    pub(crate) has_waited: bool,
}

impl Flights {
    /// Waits until nobody else does the operation; it may be done then. What it says meanwhile goes to `told`.
    pub(crate) async fn begin(&self, key: &Digest, told: impl Fn(Event)) -> Flight {
        let state = {
            let mut under_way = self.under_way.lock();
            under_way.retain(|_, state| state.strong_count() > 0);
            let known = under_way.get(key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let new = Arc::new(State { turn: Arc::default(), said: EventLog::new() });
                under_way.insert(key.clone(), Arc::downgrade(&new));
                new
            })
        };
        if let Ok(turn) = Arc::clone(&state.turn).try_lock_owned() {
            return Flight { state, _turn: turn, has_waited: false };
        }
        let mut said = state.said.stream();
        let turn = Arc::clone(&state.turn).lock_owned();
        tokio::pin!(turn);
        loop {
            tokio::select! {
                // All that was said before the end comes before it.
                biased;
                Some(event) = said.next() => told(event),
                turn = &mut turn => return Flight { state, _turn: turn, has_waited: true },
            }
        }
    }
}

impl Flight {
    /// Tells those who wait.
    pub(crate) fn tell(&self, event: Event) {
        self.state.said.tell(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::solve::event::LogEvent;

    #[tokio::test]
    async fn who_waits_hears_what_is_said_and_has_the_turn_then() {
        let (flights, key) = (Flights::default(), Digest::sha256_of(b"key"));
        let first = flights.begin(&key, |_| {}).await;
        assert!(!first.has_waited);
        let heard = Mutex::new(Vec::new());
        let second = flights.begin(&key, |event| heard.lock().push(event));
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        let at = "2026-01-01T00:00:00Z".parse().expect("a time");
        let said = Event::Log(LogEvent { vertex: key.clone(), stream: 1, bytes: "x".into(), at });
        first.tell(said.clone());
        drop(first);
        assert!(second.await.has_waited);
        assert_eq!(*heard.lock(), [said]);
    }
}

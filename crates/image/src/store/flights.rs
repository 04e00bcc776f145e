//! Work that two may want done at the same time, and that one of them does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use oci::Digest;
use parking_lot::Mutex;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// How far a layer has to come between two looks, in bytes, to be worth waiting for.
const WORTH_WAITING: u64 = 256 * 1024;

/// What is fetched: which blob from which registry, and what it claims to be here.
///
/// What another registry sends is another thing until it is here and verified: a configuration may
/// name any layer, and who serves it may be slow on purpose.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Sought {
    /// The registry's host and perhaps port.
    pub(crate) registry: String,
    /// What the registry has.
    pub(crate) blob: Digest,
    /// What it is here, on top of which layers.
    pub(crate) chain_id: Digest,
}

/// The layers that are being fetched.
///
/// Whoever waits for a layer's turn may hold the turns of layers above it in the same chain, never
/// of one below: two pulls cannot wait for each other. Nobody waits for one that makes no headway: the
/// next in line then fetches the layer itself, and whoever is done first brings it.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Sought, Weak<State>>>,
}

#[derive(Debug)]
struct State {
    turn: Arc<Turn<()>>,
    /// It was claimed: what follows is no more waiting for a turn.
    begun: AtomicBool,
    /// Bytes that have come.
    come: AtomicU64,
    /// All are here; the layer only waits for those that it lies on.
    fetched: AtomicBool,
}

/// The right to fetch a layer; the next in line has it when this is dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Arc<State>,
    _turn: OwnedMutexGuard<()>,
}

impl Flights {
    /// Waits until nobody else fetches the layer, or whoever does makes no headway between two looks. It
    /// may be there then.
    pub(crate) async fn begin(&self, sought: &Sought, look: Duration) -> Flight {
        loop {
            let state = self.current(sought);
            let turn = Arc::clone(&state.turn).lock_owned();
            tokio::pin!(turn);
            loop {
                let come = state.come.load(Ordering::Relaxed);
                if let Ok(turn) = tokio::time::timeout(look, &mut turn).await {
                    return Flight { state, _turn: turn };
                }
                let since = state.come.load(Ordering::Relaxed).saturating_sub(come);
                if since < WORTH_WAITING && !state.fetched.load(Ordering::Relaxed) {
                    break;
                }
            }
            // One of those who wait goes on by itself, and the others wait for that one.
            if let Some(flight) = self.replace(sought, &state) {
                return flight;
            }
        }
    }

    /// Whether this one, which can begin now, is to fetch the layer: not if another has begun in its
    /// place. One that has only waited for its turn so far has not.
    pub(crate) fn claim(&self, sought: &Sought, flight: &Flight) -> bool {
        let mut under_way = self.under_way.lock();
        let current = under_way.get(sought).and_then(Weak::upgrade);
        let is_mine = |state: &Arc<State>| Arc::ptr_eq(state, &flight.state);
        if current.is_some_and(|state| !is_mine(&state) && state.begun.load(Ordering::Relaxed)) {
            return false;
        }
        // Under the lock: of several whose turns come at once one does.
        flight.state.begun.store(true, Ordering::Relaxed);
        under_way.insert(sought.clone(), Arc::downgrade(&flight.state));
        true
    }

    fn current(&self, sought: &Sought) -> Arc<State> {
        let mut under_way = self.under_way.lock();
        under_way.retain(|_, state| state.strong_count() > 0);
        let known = under_way.get(sought).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let new = State::new();
            under_way.insert(sought.clone(), Arc::downgrade(&new));
            new
        })
    }

    /// Begins once more what `stuck` does, unless somebody has already.
    fn replace(&self, sought: &Sought, stuck: &Arc<State>) -> Option<Flight> {
        let mut under_way = self.under_way.lock();
        if under_way.get(sought).is_some_and(|state| !std::ptr::eq(state.as_ptr(), Arc::as_ptr(stuck))) {
            return None;
        }
        let state = State::new();
        let turn = Arc::clone(&state.turn).try_lock_owned().ok()?;
        under_way.insert(sought.clone(), Arc::downgrade(&state));
        Some(Flight { state, _turn: turn })
    }
}

impl State {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Arc::default(),
            begun: AtomicBool::new(false),
            come: AtomicU64::new(0),
            fetched: AtomicBool::new(false),
        })
    }
}

impl Flight {
    /// Tells those who wait that bytes have come.
    pub(crate) fn come(&self, bytes: usize) {
        self.state.come.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Tells them that all have come.
    pub(crate) fn fetched(&self) {
        self.state.fetched.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;

    use super::*;

    const LOOK: Duration = Duration::from_secs(10);

    fn sought(registry: &str) -> Sought {
        let digest = Digest::sha256_of(b"layer");
        Sought { registry: registry.to_owned(), blob: digest.clone(), chain_id: digest }
    }

    #[tokio::test(start_paused = true)]
    async fn what_makes_headway_is_waited_for() {
        let flights = Flights::default();
        let first = flights.begin(&sought("one"), LOOK).await;
        let second = sought("one");
        let second = flights.begin(&second, LOOK);
        tokio::pin!(second);
        for _ in 0..100 {
            assert!(poll!(&mut second).is_pending());
            first.come(WORTH_WAITING as usize);
            tokio::time::advance(LOOK).await;
        }
        // One that has come whole only waits for its place.
        first.fetched();
        assert!(poll!(&mut second).is_pending());
        tokio::time::advance(3 * LOOK).await;
        assert!(poll!(&mut second).is_pending());
        drop(first);
        second.await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_of_those_who_wait_for_nothing_goes_on_alone_and_the_others_wait_for_that_one() {
        let flights = Flights::default();
        let (one, stuck) = (sought("one"), flights.begin(&sought("one"), LOOK).await);
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(flights.begin(&one, LOOK))).collect();
        let mut gone_on = None;
        while gone_on.is_none() {
            for (at, flight) in waiting.iter_mut().enumerate() {
                if let std::task::Poll::Ready(flight) = poll!(flight) {
                    assert!(gone_on.is_none(), "only one");
                    gone_on = Some((at, flight));
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let (at, flight) = gone_on.expect("one went on");
        drop(waiting.remove(at));
        // They wait for that one, and not for the one that is stuck.
        assert!(poll!(&mut waiting[0]).is_pending());
        assert!(flights.claim(&one, &flight));
        assert!(!flights.claim(&one, &stuck));
        drop(flight);
        waiting.remove(0).await;
        drop(stuck);
    }

    /// Both queue for a thread of the registry's: neither keeps the other from its turn.
    #[tokio::test(start_paused = true)]
    async fn who_only_waits_for_a_turn_fetches_when_it_comes() {
        let flights = Flights::default();
        let one = sought("one");
        let first = flights.begin(&one, LOOK).await;
        let second = flights.begin(&one, LOOK).await;
        let third = flights.begin(&one, LOOK).await;
        assert!(flights.claim(&one, &first), "its turn came first");
        // Of which nothing has come yet.
        assert!(!flights.claim(&one, &second), "the first is on its way");
        assert!(!flights.claim(&one, &third) && flights.claim(&one, &first));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_another_registry() {
        let flights = Flights::default();
        let _stuck = flights.begin(&sought("slow"), LOOK).await;
        let other = sought("quick");
        assert!(poll!(Box::pin(flights.begin(&other, LOOK))).is_ready());
    }
}

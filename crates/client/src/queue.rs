//! Keys that wait to be worked on.
//!
//! What always holds: a key waits at most once; a key that is being worked on is not handed out
//! again; one that was added in the meantime waits again once it is [`WorkQueue::done`].

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

mod meters;

use base::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use meters::Meters;

pub use meters::write_metrics;

const FIRST_DELAY: Duration = Duration::from_millis(5);
const MOST_DELAY: Duration = Duration::from_secs(300);
/// Room for so many keys that wait is kept when none does.
const ROOM: usize = 64;

/// A queue of keys for many workers, which drops duplicates, delays, and backs off failures.
pub struct WorkQueue<T> {
    state: Mutex<State<T>>,
    changed: Notify,
}

struct State<T> {
    /// In the order in which they are handed out.
    ready: VecDeque<T>,
    /// What is in `ready`, or is being worked on and was added since.
    dirty: HashSet<T>,
    working: HashMap<T, Instant>,
    /// Since when those wait that are in `ready`, where that is counted.
    since: HashMap<T, Instant>,
    meters: Option<Meters>,
    delayed: BTreeSet<(Instant, u64)>,
    delayed_items: HashMap<u64, T>,
    delays: HashMap<T, (Instant, u64)>,
    next_delay: u64,
    failures: HashMap<T, Backoff>,
    closed: bool,
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// An empty queue of which it is counted how it fares, under this name.
    pub fn named(name: &'static str) -> Self {
        Self::with(Some(Meters::of(name)))
    }

    fn with(meters: Option<Meters>) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashMap::new(),
            since: HashMap::new(),
            meters,
            delayed: BTreeSet::new(),
            delayed_items: HashMap::new(),
            delays: HashMap::new(),
            next_delay: 0,
            failures: HashMap::new(),
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds a key, unless it waits already.
    pub fn add(&self, item: T) {
        let mut state = self.state.lock();
        state.add(item);
        drop(state);
        self.changed.notify_one();
    }

    /// Adds a key after `delay`; of several delays of the same key the shortest counts.
    pub fn add_after(&self, item: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(item);
        }
        // What lies beyond all clocks never comes.
        let Some(at) = Instant::now().checked_add(delay) else { return };
        let mut state = self.state.lock();
        if !state.closed {
            state.delay(item, at);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Adds a key that failed: the more often it did since [`WorkQueue::forget`], the later, from
    /// 5 ms to 5 minutes. Gives the delay.
    pub fn add_rate_limited(&self, item: T) -> Duration {
        let first = || Backoff::new(FIRST_DELAY, MOST_DELAY);
        let delay = {
            let mut state = self.state.lock();
            if let Some(meters) = &state.meters {
                meters.retries.increment();
            }
            state.failures.entry(item.clone()).or_insert_with(first).next_delay()
        };
        self.add_after(item, delay);
        delay
    }

    /// Forgets that a key ever failed.
    pub fn forget(&self, item: &T) {
        self.state.lock().failures.remove(item);
    }

    /// How often a key has failed since it was forgotten.
    pub fn failures(&self, item: &T) -> u32 {
        self.state.lock().failures.get(item).map_or(0, Backoff::failures)
    }

    /// Waits for a key to work on; `None` once the queue is closed and nothing waits. The worker
    /// must call [`WorkQueue::done`] with it.
    pub async fn next(&self) -> Option<T> {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut state = self.state.lock();
                state.take_due(Instant::now());
                if let Some(item) = state.take() {
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(item);
                }
                if state.closed {
                    // The others have to learn it too.
                    self.changed.notify_one();
                    return None;
                }
                state.delayed.first().map(|&(at, _)| at)
            };
            match due {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Says that the work on a key is over.
    pub fn done(&self, item: &T) {
        let mut state = self.state.lock();
        let began = state.working.remove(item);
        if let (Some(meters), Some(began)) = (&state.meters, began) {
            meters.worked.observe(began.elapsed());
        }
        if state.dirty.contains(item) {
            state.wait(item.clone());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Takes no more keys; those that wait are still handed out, those that are delayed are not.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.delayed.clear();
        state.delayed_items.clear();
        state.delays.clear();
        drop(state);
        self.changed.notify_one();
    }

    /// As [`WorkQueue::close`], but what waits is dropped: keys are known again after a restart.
    pub fn close_now(&self) {
        let mut state = self.state.lock();
        state.ready.clear();
        state.dirty.clear();
        state.since.clear();
        if let Some(meters) = &state.meters {
            meters.depth.set(0);
        }
        drop(state);
        self.close();
    }

    /// How many keys wait, those that are delayed not counted.
    pub fn len(&self) -> usize {
        self.state.lock().ready.len()
    }

    /// Whether no key waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    fn add(&mut self, item: T) {
        if self.closed || !self.dirty.insert(item.clone()) {
            return;
        }
        if let Some(meters) = &self.meters {
            meters.adds.increment();
        }
        if !self.working.contains_key(&item) {
            self.wait(item);
        }
    }

    fn wait(&mut self, item: T) {
        if let Some(meters) = &self.meters {
            meters.depth.add(1);
            self.since.insert(item.clone(), Instant::now());
        }
        self.ready.push_back(item);
    }

    fn take(&mut self) -> Option<T> {
        let item = self.ready.pop_front()?;
        self.dirty.remove(&item);
        if let Some(meters) = &self.meters {
            meters.depth.add(-1);
            if let Some(since) = self.since.remove(&item) {
                meters.waited.observe(since.elapsed());
            }
        }
        self.working.insert(item.clone(), Instant::now());
        if self.ready.is_empty() {
            self.give_back();
        }
        Some(item)
    }

    /// Lets go of the room that a flood of keys took: the first list of a kind brings all of them at once, and where
    /// the server is not there all of them wait.
    fn give_back(&mut self) {
        let is_much = |capacity: usize, taken: usize| capacity > ROOM.max(4 * taken);
        macro_rules! shrink {
            ($($part:ident),*) => {
                $(if is_much(self.$part.capacity(), self.$part.len()) {
                    self.$part.shrink_to(ROOM);
                })*
            };
        }
        shrink!(ready, dirty, since, delayed_items, delays, failures);
    }

    fn delay(&mut self, item: T, at: Instant) {
        if let Some(&entry) = self.delays.get(&item) {
            if entry.0 <= at {
                return;
            }
            self.delayed.remove(&entry);
            self.delayed_items.remove(&entry.1);
        }
        let entry = (at, self.next_delay);
        self.next_delay += 1;
        self.delayed.insert(entry);
        self.delayed_items.insert(entry.1, item.clone());
        self.delays.insert(item, entry);
    }

    fn take_due(&mut self, now: Instant) {
        while self.delayed.first().is_some_and(|&(at, _)| at <= now) {
            let Some((_, number)) = self.delayed.pop_first() else { break };
            if let Some(item) = self.delayed_items.remove(&number) {
                self.delays.remove(&item);
                self.add(item);
            }
        }
    }
}

#[cfg(test)]
mod tests;

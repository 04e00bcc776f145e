//! Those who have been asked: what is kept of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::line::Line;
use super::{Callee, verifier};
use crate::state::State;

/// So many questions are with one at once, and so many others wait for that.
const AT_ONCE: usize = 128;
const WAITING: usize = 1024;
/// So many of its answers may be long at a time.
const LONG: usize = 2;
/// So many connections are kept though nobody is asking, each for so long.
const IDLE: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(60);
/// So many are known at once; who was not asked for so long is forgotten.
const KNOWN: usize = 1024;
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// All who have been asked lately.
#[derive(Default)]
pub(crate) struct Callouts {
    known: Mutex<HashMap<Callee, Arc<Known>>>,
}

/// What is kept of one.
pub(super) struct Known {
    /// How it is spoken to, or why nobody can vouch for it.
    pub(super) tls: Result<Arc<ClientConfig>, String>,
    pub(super) room: Semaphore,
    /// For answers that are long.
    pub(super) long: Arc<Semaphore>,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Line>>,
    /// When it was asked last, in milliseconds since the start.
    asked: AtomicU64,
}

/// One who asks, until it is dropped.
pub(super) struct Entered<'a>(&'a AtomicUsize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Callouts {
    /// What is kept of one, made where there is nothing.
    pub(super) fn of(&self, state: &State, callee: &Callee) -> Arc<Known> {
        let now = millis(state.clock.elapsed());
        let found = self.known.lock().get(callee).cloned();
        let known = match found {
            Some(known) => known,
            None => {
                let made = Arc::new(Known::new(state, callee));
                let mut all = self.known.lock();
                if all.len() >= KNOWN && !all.contains_key(callee) {
                    forget_oldest(&mut all);
                }
                all.entry(callee.clone()).or_insert(made).clone()
            }
        };
        known.asked.store(now, Ordering::Relaxed);
        known
    }

    /// Closes connections that nobody has used for a while, and forgets who is not asked any more.
    pub(crate) fn trim(&self, now: Duration) {
        let now = millis(now);
        let is_over = |since: u64, most: Duration| now.saturating_sub(since) >= millis(most);
        self.known.lock().retain(|_, known| {
            let asked = known.asked.load(Ordering::Relaxed);
            if is_over(asked, IDLE_FOR) {
                known.idle.lock().clear();
            }
            known.waiting.load(Ordering::Relaxed) > 0 || !is_over(asked, KNOWN_FOR)
        });
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Half of them, so that this is seldom. Who asks one of them goes on with what he has.
fn forget_oldest(all: &mut HashMap<Callee, Arc<Known>>) {
    let mut times: Vec<u64> = all.values().map(|known| known.asked.load(Ordering::Relaxed)).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    all.retain(|_, known| known.asked.load(Ordering::Relaxed) > middle);
}

impl Known {
    fn new(state: &State, callee: &Callee) -> Self {
        let tls = match &callee.authorities {
            Some(authorities) => verifier::client(authorities),
            None => verifier::client(state.of_system()),
        };
        Self::with(tls.map(Arc::new))
    }

    fn with(tls: Result<Arc<ClientConfig>, String>) -> Self {
        Self {
            tls,
            room: Semaphore::new(AT_ONCE),
            long: Arc::new(Semaphore::new(LONG)),
            waiting: AtomicUsize::new(0),
            idle: Mutex::default(),
            asked: AtomicU64::new(0),
        }
    }

    /// Takes a place among those who ask, if there is one.
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(&self.waiting);
        (before < AT_ONCE + WAITING).then_some(entered)
    }

    /// A connection that nobody uses: the one that was used last.
    pub(super) fn idle(&self) -> Option<Line> {
        let mut idle = self.idle.lock();
        while let Some(line) = idle.pop() {
            if line.is_open() {
                return Some(line);
            }
        }
        None
    }

    /// Keeps a connection for whoever asks next.
    pub(super) fn keep(&self, line: Line) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE {
            idle.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_for_one_and_no_more() {
        let known = Known::with(Err("nobody".to_owned()));
        let mut entered: Vec<_> = (0..AT_ONCE + WAITING).filter_map(|_| known.enter()).collect();
        assert_eq!(entered.len(), AT_ONCE + WAITING);
        assert!(known.enter().is_none());
        entered.pop();
        let again = known.enter();
        assert!(again.is_some());
        drop((entered, again));
        assert_eq!(known.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_is_not_asked_any_more_is_forgotten() {
        let callouts = Callouts::default();
        let callee = |number: u64| Callee::at(&format!("https://h{number}/"), None).expect("an address");
        for number in 0..10 {
            let known = Known::with(Err("nobody".to_owned()));
            known.asked.store(number * 1000, Ordering::Relaxed);
            callouts.known.lock().insert(callee(number), Arc::new(known));
        }
        forget_oldest(&mut callouts.known.lock());
        assert!(callouts.known.lock().contains_key(&callee(9)));
        assert_eq!(callouts.known.lock().len(), 4);
        callouts.trim(KNOWN_FOR + Duration::from_secs(8));
        assert_eq!(callouts.known.lock().keys().collect::<Vec<_>>(), [&callee(9)]);
    }
}

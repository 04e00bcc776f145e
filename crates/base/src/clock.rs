//! The time of day and a steady clock, passed in wherever a decision depends on them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A moment in UTC with nanosecond precision.
pub type Timestamp = jiff::Timestamp;

/// Tells the time. Pass it in; never ask the system from inside a planner or a state machine.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, which may jump.
    fn now(&self) -> Timestamp;

    /// Time since an arbitrary start, which never goes back: for durations and deadlines.
    fn elapsed(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// How long ago moments were that records name by the time of day, told by the steady clock.
///
/// A moment is compared with the time of day once, when it is seen first; from then on its age grows as
/// the steady clock does, whatever becomes of the time of day. One that lies in the future (the time of day
/// was set back) is now.
///
/// ```
/// use std::time::Duration;
/// use base::Clock;
/// use base::clock::{Ages, ManualClock};
/// let noon: base::Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
/// let clock = ManualClock::new(noon);
/// let mut ages = Ages::default();
/// let ended = noon - Duration::from_secs(5);
/// assert_eq!(ages.look(&clock, [("web", ended)])["web"], Duration::from_secs(5));
/// clock.set("2026-01-01T11:00:00Z".parse().unwrap());
/// clock.advance(Duration::from_secs(10));
/// assert_eq!(ages.look(&clock, [("web", ended)])["web"], Duration::from_secs(15));
/// ```
#[derive(Clone, Debug)]
pub struct Ages<K> {
    seen: HashMap<K, Seen>,
}

/// A moment as it was seen first.
#[derive(Clone, Copy, Debug)]
struct Seen {
    moment: Timestamp,
    age: Duration,
    /// On the steady clock.
    when: Duration,
}

impl<K: Clone + Eq + Hash> Ages<K> {
    /// The ages of these moments, each under its key; what was under other keys is forgotten.
    pub fn look(
        &mut self,
        clock: &dyn Clock,
        moments: impl IntoIterator<Item = (K, Timestamp)>,
    ) -> HashMap<K, Duration> {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let first = |moment: Timestamp| {
            let age = Duration::try_from(now.duration_since(moment)).unwrap_or(Duration::ZERO);
            Seen { moment, age, when: elapsed }
        };
        let seen = moments.into_iter().map(|(key, moment)| {
            let known = self.seen.get(&key).filter(|known| known.moment == moment);
            (key, known.copied().unwrap_or_else(|| first(moment)))
        });
        self.seen = seen.collect();
        let age = |seen: &Seen| seen.age + elapsed.saturating_sub(seen.when);
        self.seen.iter().map(|(key, seen)| (key.clone(), age(seen))).collect()
    }
}

impl<K> Default for Ages<K> {
    fn default() -> Self {
        Self { seen: HashMap::new() }
    }
}

/// A clock for tests that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    state: Mutex<(Timestamp, Duration)>,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { state: Mutex::new((now, Duration::ZERO)) }
    }

    /// Moves the time of day and the steady clock by `by`.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock().expect("no holder panics");
        state.0 = state.0.checked_add(by).expect("tests stay within the calendar");
        state.1 += by;
    }

    /// Sets the time of day; the steady clock does not notice.
    pub fn set(&self, now: Timestamp) {
        self.state.lock().expect("no holder panics").0 = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().expect("no holder panics").0
    }

    fn elapsed(&self) -> Duration {
        self.state.lock().expect("no holder panics").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_grows_with_the_steady_clock_however_the_time_of_day_is_set() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let clock = ManualClock::new(noon);
        let mut ages = Ages::default();
        let mut age = |moment: Timestamp| ages.look(&clock, [((), moment)])[&()].as_secs();
        let moment = noon - Duration::from_secs(7);
        assert_eq!(age(moment), 7);
        clock.set(noon - Duration::from_secs(3600));
        assert_eq!(age(moment), 7, "set back");
        clock.set(noon + Duration::from_secs(3600));
        clock.advance(Duration::from_secs(3));
        assert_eq!(age(moment), 10, "set forward");
        // Another moment under the key, in what is the future by now.
        clock.set(noon);
        let later = noon + Duration::from_secs(60);
        assert_eq!(age(later), 0);
        clock.advance(Duration::from_secs(5));
        assert_eq!(age(later), 5, "it does not wait for the time of day");
    }

    #[test]
    fn what_is_not_asked_for_is_forgotten() {
        let noon: Timestamp = "2026-01-01T12:00:00Z".parse().expect("a time");
        let clock = ManualClock::new(noon);
        let mut ages = Ages::default();
        ages.look(&clock, [("a", noon), ("b", noon)]);
        ages.look(&clock, [("b", noon)]);
        assert_eq!(ages.seen.len(), 1);
    }
}

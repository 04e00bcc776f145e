//! The time of day and a steady clock, passed in wherever a decision depends on them.

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
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state.lock().expect("no holder panics").0
    }

    fn elapsed(&self) -> Duration {
        self.state.lock().expect("no holder panics").1
    }
}

//! How many seats a level would have had use for.

use std::time::Duration;

/// How much of what was known stays from one period to the next: half of it after five minutes.
const STAYS: f64 = 0.977;

/// Adds up a number over time.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    value: f64,
    since: Duration,
    begun: Duration,
    most: f64,
    sum: f64,
    squares: f64,
}

/// What a number was in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Observed {
    pub(super) average: f64,
    pub(super) deviation: f64,
    pub(super) most: f64,
}

/// What is known of a level's demand: it grows at once and shrinks slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Smoothed {
    pub(super) last: Observed,
    pub(super) value: f64,
}

impl Demand {
    pub(super) fn new(now: Duration) -> Self {
        Self { value: 0.0, since: now, begun: now, most: 0.0, sum: 0.0, squares: 0.0 }
    }

    /// From now on it is this.
    pub(super) fn set(&mut self, now: Duration, value: u64) {
        self.reach(now);
        self.value = value as f64;
        self.most = self.most.max(self.value);
    }

    /// What it was since the last time, and begins anew.
    pub(super) fn take(&mut self, now: Duration) -> Observed {
        self.reach(now);
        let passed = now.saturating_sub(self.begun).as_secs_f64();
        let observed = if passed > 0.0 {
            let average = self.sum / passed;
            let variance = (self.squares / passed - average * average).max(0.0);
            Observed { average, deviation: variance.sqrt(), most: self.most }
        } else {
            Observed { average: self.value, deviation: 0.0, most: self.most }
        };
        *self = Self { value: self.value, most: self.value, ..Self::new(now) };
        observed
    }

    fn reach(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        self.sum += self.value * passed;
        self.squares += self.value * self.value * passed;
        self.since = self.since.max(now);
    }
}

impl Smoothed {
    pub(super) fn learn(&mut self, observed: Observed) {
        let envelope = observed.average + observed.deviation;
        self.value = envelope.max(STAYS * self.value + (1.0 - STAYS) * envelope);
        self.last = observed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_demand_is_known_by_its_average_its_deviation_and_its_most() {
        let mut demand = Demand::new(second(1));
        demand.set(second(1), 4);
        demand.set(second(3), 0);
        let observed = demand.take(second(5));
        assert_eq!(observed, Observed { average: 2.0, deviation: 2.0, most: 4.0 });
        // The next period begins with what is now.
        demand.set(second(6), 6);
        assert_eq!(demand.take(second(7)).average, 3.0);
        assert_eq!(demand.take(second(7)), Observed { average: 6.0, deviation: 0.0, most: 6.0 });
    }

    #[test]
    fn it_grows_at_once_and_shrinks_slowly() {
        let mut smoothed = Smoothed::default();
        smoothed.learn(Observed { average: 50.0, deviation: 10.0, most: 90.0 });
        assert_eq!(smoothed.value, 60.0);
        smoothed.learn(Observed::default());
        assert!((smoothed.value - 60.0 * STAYS).abs() < 1e-9);
        // Half after five minutes, in periods of ten seconds.
        (0..29).for_each(|_| smoothed.learn(Observed::default()));
        assert!((29.0..31.0).contains(&smoothed.value), "{}", smoothed.value);
    }
}

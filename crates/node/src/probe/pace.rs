//! When the attempts of a probe are made.

use std::time::Duration;

use super::{Kind, Timing};

/// One attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When, since the first.
    pub at: Duration,
    /// Whether a failure is one: those between the periods may only find that it has become good.
    pub counts: bool,
}

/// The attempts of one probe: one each period, and where something waits for it to pass, more between them,
/// so that a container gets traffic as soon as it can serve, whatever its period.
#[derive(Clone, Debug)]
pub struct Pace {
    period: Duration,
    between: Option<Duration>,
    /// When the last one that counted began.
    counted: Duration,
}

/// Between two attempts, at least: one may be a program that is run.
const SHORTEST: Duration = Duration::from_millis(100);

impl Pace {
    /// That of a probe whose first attempt is made at nought, and counts.
    pub fn new(kind: Kind, timing: &Timing) -> Self {
        let period = timing.period;
        let between = match kind {
            Kind::Startup | Kind::Readiness => Some(SHORTEST.max(period / 10)),
            Kind::Liveness => None,
        };
        Self { period, between, counted: Duration::ZERO }
    }

    /// The attempt after `last`, which ended at `now`.
    pub fn after(&mut self, last: Attempt, good: bool, now: Duration) -> Attempt {
        if last.counts || good {
            self.counted = last.at;
        }
        let due = (self.counted + self.period).max(now);
        let sooner =
            self.between.filter(|_| !good).map(|between| now + between).filter(|&sooner| sooner < due);
        Attempt { at: sooner.unwrap_or(due), counts: sooner.is_none() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attempts of the first minute, each of which takes `took`: when, and which of them count.
    fn attempts(kind: Kind, period: u64, took: Duration, good_at: Option<u64>) -> Vec<(u128, bool)> {
        let second = Duration::from_secs(1);
        let timing = Timing {
            initial_delay: second,
            period: second * period as u32,
            timeout: second,
            successes: 1,
            failures: 3,
        };
        let mut pace = Pace::new(kind, &timing);
        let mut attempt = Attempt { at: Duration::ZERO, counts: true };
        let mut made = Vec::new();
        while attempt.at < Duration::from_secs(60) {
            made.push((attempt.at.as_millis(), attempt.counts));
            let good = good_at.is_some_and(|at| attempt.at >= Duration::from_secs(at));
            attempt = pace.after(attempt, good, attempt.at + took);
        }
        made
    }

    fn counted(made: &[(u128, bool)]) -> Vec<u128> {
        made.iter().filter(|(_, counts)| *counts).map(|(at, _)| at / 1000).collect()
    }

    #[test]
    fn failures_count_once_a_period_however_often_is_asked_between() {
        for kind in [Kind::Startup, Kind::Liveness, Kind::Readiness] {
            let made = attempts(kind, 10, Duration::from_millis(3), None);
            assert_eq!(counted(&made), [0, 10, 20, 30, 40, 50], "{kind:?}");
        }
        assert_eq!(attempts(Kind::Liveness, 10, Duration::ZERO, None).len(), 6);
        assert_eq!(attempts(Kind::Startup, 10, Duration::ZERO, None).len(), 60);
    }

    #[test]
    fn what_has_become_good_is_found_between_the_periods_and_asked_again_after_one() {
        let made = attempts(Kind::Readiness, 10, Duration::ZERO, Some(14));
        let places: Vec<u128> = made.iter().map(|(at, _)| at / 1000).collect();
        assert_eq!(places[..18], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 24, 34, 44]);
    }

    #[test]
    fn an_attempt_that_takes_longer_than_a_period_is_followed_at_once() {
        let made = attempts(Kind::Liveness, 1, Duration::from_secs(7), None);
        assert_eq!(counted(&made), [0, 7, 14, 21, 28, 35, 42, 49, 56]);
    }
}

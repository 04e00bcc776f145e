//! Exponential back-off without a clock: says how long to wait, never waits.

use std::time::Duration;

/// A doubling delay between two bounds.
///
/// ```
/// use std::time::Duration;
/// let mut backoff = base::backoff::Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
/// assert_eq!(backoff.next_delay(), Duration::from_secs(10));
/// assert_eq!(backoff.next_delay(), Duration::from_secs(20));
/// backoff.reset();
/// assert_eq!(backoff.next_delay(), Duration::from_secs(10));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off that begins with `first` and never exceeds `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, failures: 0 }
    }

    /// The delay before the next try; each call counts as one more failure.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.delay();
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// The delay that the next call of [`Backoff::next_delay`] gives.
    pub fn delay(&self) -> Duration {
        let factor = 1u32.checked_shl(self.failures.min(31)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// How many delays have been handed out since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets all failures: the next delay is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_bound_and_stays_there() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let delays: Vec<u64> = (0..40).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays[..5], [1, 2, 4, 5, 5]);
        assert!(delays[5..].iter().all(|&d| d == 5));
    }
}

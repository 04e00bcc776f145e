//! Patience with a peer that bytes come from or go to.

use std::time::Duration;

/// Bytes that make up for a second of waiting: far less than any line that is of use.
const BYTES_PER_SECOND: u32 = 1024;

/// How long a peer may still keep us waiting. Waiting uses the patience up, and bytes fill it again,
/// so that a peer may rest for as long as the whole of it now and then, while one that sends a byte a
/// minute to stay alive has no more of it than one that is silent.
///
/// Only what the peer takes counts as waiting: not the time that its bytes need here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    most: Duration,
    left: Duration,
}

impl Pace {
    /// Patience for waits of `most` together.
    pub fn new(most: Duration) -> Self {
        Self { most, left: most }
    }

    /// How long the next wait may take; nothing where the patience is at its end.
    pub fn left(&self) -> Duration {
        self.left
    }

    /// Whether there is no patience left.
    pub fn is_over(&self) -> bool {
        self.left.is_zero()
    }

    /// Counts a wait that took as long as `waited` and brought `bytes`.
    pub fn passed(&mut self, waited: Duration, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1) * bytes / BYTES_PER_SECOND;
        self.left = self.left.saturating_sub(waited).saturating_add(earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// For how many waits of `each`, of which every one brings `bytes`, the patience lasts; no more than 1000.
    fn lasts(each: Duration, bytes: usize) -> usize {
        let mut pace = Pace::new(5 * MINUTE);
        (0..1000)
            .take_while(|_| {
                let goes_on = each < pace.left();
                pace.passed(each, bytes);
                goes_on
            })
            .count()
    }

    #[test]
    fn a_byte_a_minute_is_as_good_as_silence() {
        assert_eq!(lasts(MINUTE, 0), 4);
        assert_eq!(lasts(MINUTE, 1), 5);
    }

    #[test]
    fn whoever_sends_may_rest_as_often_as_it_likes() {
        assert_eq!(lasts(4 * MINUTE, 1 << 20), 1000);
        assert_eq!(lasts(Duration::from_secs(1), 2048), 1000);
        assert_eq!(lasts(6 * MINUTE, 1 << 20), 0);
    }

    #[test]
    fn patience_does_not_grow() {
        let mut pace = Pace::new(MINUTE);
        pace.passed(Duration::ZERO, usize::MAX);
        assert_eq!(pace, Pace::new(MINUTE));
        pace.passed(2 * MINUTE, 0);
        assert!(pace.is_over());
    }
}

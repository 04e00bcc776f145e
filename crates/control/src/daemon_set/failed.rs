//! How soon pods that failed are made anew: later and later, where their node refuses them again and again.

use std::collections::HashMap;
use std::time::Duration;

/// What a pod is made anew after, the first time and at most.
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_mins(15);

/// Which pods have failed: of a set, by its uid, as it was at a generation, on a node.
pub(super) type Place = (String, i64, String);

/// What is remembered of pods that failed.
#[derive(Default)]
pub(super) struct Failed(HashMap<Place, Delay>);

#[derive(Clone, Copy)]
struct Delay {
    /// When one was deleted last, on the steady clock.
    since: Duration,
    delay: Duration,
}

impl Failed {
    /// After how long a pod that failed may be deleted; nothing where it may be now.
    pub(super) fn wait(&self, place: &Place, now: Duration) -> Option<Duration> {
        let known = self.0.get(place)?;
        let left = known.delay.saturating_sub(now.saturating_sub(known.since));
        Some(left).filter(|left| !left.is_zero())
    }

    /// Notes that one is deleted now: the next has to wait for longer.
    pub(super) fn deleted(&mut self, place: Place, now: Duration) {
        // Who has been well for twice the longest time begins anew.
        self.0.retain(|_, known| now.saturating_sub(known.since) <= MOST * 2);
        let known = self.0.get(&place).copied();
        let delay = known.map_or(FIRST, |known| (known.delay * 2).min(MOST));
        self.0.insert(place, Delay { since: now, delay });
    }

    /// Forgets a set that is gone.
    pub(super) fn forget(&mut self, uid: &str) {
        self.0.retain(|(known, ..), _| known != uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_and_again_is_made_anew_later_and_later() {
        let (mut failed, place) = (Failed::default(), ("u".to_owned(), 1, "n".to_owned()));
        let mut now = Duration::from_secs(100);
        let mut waits = Vec::new();
        for _ in 0..12 {
            assert_eq!(failed.wait(&place, now), None);
            failed.deleted(place.clone(), now);
            let wait = failed.wait(&place, now).expect("it has to wait");
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(failed.wait(&("u".to_owned(), 2, "n".to_owned()), now), None, "another template may work");
        failed.deleted(place.clone(), now + MOST * 3);
        assert_eq!(failed.wait(&place, now + MOST * 3), Some(FIRST), "it has been well for long");
        failed.forget("u");
        assert_eq!(failed.wait(&place, now + MOST * 3), None);
    }
}

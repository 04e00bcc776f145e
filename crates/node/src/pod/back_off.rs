//! When a container that keeps ending may be started again.
//!
//! The first restart is immediate, the next ones wait 10 s, 20 s, … up to five minutes, counted from
//! the moment at which the container ended. One that ran for ten minutes begins anew. The same
//! delays space out pulls of an image that cannot be pulled.
//!
//! Moments are those of the steady clock ([`base::Clock::elapsed`]): one that sets the time of day
//! stops no pod.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::runtime::ContainerId;

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
pub const MOST: Duration = Duration::from_secs(300);
/// After so long without a failure everything is forgotten.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How often it is told that a container waits: as often as the kubelet looks at one that does.
pub(super) const TOLD_AGAIN: Duration = Duration::from_secs(10);

/// Back-offs by key: a container's name, or an image's.
#[derive(Clone, Debug, Default)]
pub struct BackOffs {
    entries: BTreeMap<String, Entry>,
}

/// The containers of which it is told that they wait, with the instance that ended last and when that was
/// told last.
#[derive(Debug, Default)]
pub(super) struct Announced(BTreeMap<String, (ContainerId, Duration)>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    delay: Duration,
    failed_at: Duration,
}

impl BackOffs {
    /// When `key`, which failed at `failed_at`, may be tried again; `None` is at once.
    pub fn not_before(&self, key: &str, failed_at: Duration) -> Option<Duration> {
        let entry = self.entries.get(key)?;
        if failed_at.abs_diff(entry.failed_at) > FORGIVEN {
            return None;
        }
        Some(failed_at + entry.delay)
    }

    /// Notes a new try of `key`, which failed at `failed_at`: the next delay is twice as long.
    pub fn tried(&mut self, key: &str, failed_at: Duration) {
        let delay = match self.entries.get(key) {
            Some(entry) if failed_at.abs_diff(entry.failed_at) <= FORGIVEN => (entry.delay * 2).min(MOST),
            _ => FIRST,
        };
        self.entries.insert(key.to_owned(), Entry { delay, failed_at });
    }

    /// The delay that holds for `key` now.
    pub fn delay(&self, key: &str) -> Option<Duration> {
        self.entries.get(key).map(|entry| entry.delay)
    }

    /// Forgets the failures of `key`.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

impl Announced {
    /// Of which of those that are `waiting` it is to be told now; the others are forgotten.
    pub(super) fn due<'a>(
        &mut self,
        waiting: impl Iterator<Item = (&'a str, &'a ContainerId)>,
        now: Duration,
    ) -> BTreeSet<String> {
        let before = std::mem::take(&mut self.0);
        let mut due = BTreeSet::new();
        for (name, ended) in waiting {
            let told = before.get(name).filter(|(instance, at)| instance == ended && now < *at + TOLD_AGAIN);
            let at = told.map_or(now, |(_, at)| *at);
            if told.is_none() {
                due.insert(name.to_owned());
            }
            self.0.insert(name.to_owned(), (ended.clone(), at));
        }
        due
    }

    /// When it is to be told again of one that waits still then.
    pub(super) fn next(&self) -> Option<Duration> {
        self.0.values().map(|(_, at)| *at + TOLD_AGAIN).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_of_each_end_and_again_while_the_container_waits() {
        let mut announced = Announced::default();
        let mut check = |second: u64, waiting: &[(&str, &str)], expected: &[&str], next: Option<u64>| {
            let waiting: Vec<_> =
                waiting.iter().map(|(name, id)| (*name, ContainerId((*id).into()))).collect();
            let waiting = waiting.iter().map(|(name, id)| (*name, id));
            let due = announced.due(waiting, Duration::from_secs(second));
            assert_eq!(due.into_iter().collect::<Vec<_>>(), expected, "after {second} s");
            assert_eq!(announced.next(), next.map(Duration::from_secs), "after {second} s");
        };
        check(0, &[], &[], None);
        check(1, &[("a", "1")], &["a"], Some(11));
        check(5, &[("a", "1"), ("b", "1")], &["b"], Some(11));
        check(11, &[("a", "1"), ("b", "1")], &["a"], Some(15));
        check(12, &[("b", "1")], &[], Some(15));
        check(14, &[("a", "2"), ("b", "1")], &["a"], Some(15));
        check(30, &[("a", "2"), ("b", "1")], &["a", "b"], Some(40));
        check(31, &[], &[], None);
    }

    #[test]
    fn the_first_restart_is_immediate_and_later_ones_wait_ever_longer() {
        let mut back_offs = BackOffs::default();
        let mut moment = Duration::from_secs(1_000_000);
        let mut delays = Vec::new();
        for _ in 0..8 {
            let delay = back_offs.not_before("c", moment).map_or(0, |until| (until - moment).as_secs());
            delays.push(delay);
            back_offs.tried("c", moment);
            moment += Duration::from_secs(1 + delay);
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300]);
    }

    #[test]
    fn a_container_that_ran_long_begins_anew() {
        let mut back_offs = BackOffs::default();
        let moment = Duration::from_secs(1_000_000);
        back_offs.tried("c", moment);
        back_offs.tried("c", moment);
        let later = moment + Duration::from_secs(601);
        assert_eq!(back_offs.not_before("c", later), None);
        back_offs.tried("c", later);
        assert_eq!(back_offs.delay("c"), Some(FIRST));
    }
}

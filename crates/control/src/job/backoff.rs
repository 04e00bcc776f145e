//! How long a Job waits before it replaces pods that failed.

use std::collections::HashMap;
use std::time::Duration;

use base::clock::Ages;
use base::{Clock, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::pods::finished_at;

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(600);

/// The pods that have failed since one succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) last: Option<Timestamp>,
}

impl Failures {
    /// With pods that have ended since.
    pub(super) fn and(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let success = succeeded.iter().map(|pod| finished_at(pod)).max();
        let failures = failed.iter().map(|pod| finished_at(pod));
        let after: Vec<Timestamp> =
            failures.filter(|failure| success.is_none_or(|success| *failure > success)).collect();
        let before = if success.is_some() { Self::default() } else { self };
        let count = u32::try_from(after.len()).unwrap_or(u32::MAX);
        Self { count: before.count.saturating_add(count), last: after.into_iter().max().or(before.last) }
    }

    /// How long is to be waited from now on; `passed` says how long ago a moment was.
    pub(super) fn remaining(self, passed: impl FnOnce(Timestamp) -> Duration) -> Duration {
        let Some(last) = self.last.filter(|_| self.count > 0) else { return Duration::ZERO };
        let doubled = 2_u32.checked_pow(self.count - 1).and_then(|times| FIRST.checked_mul(times));
        let wait = doubled.unwrap_or(MOST).min(MOST);
        wait.saturating_sub(passed(last))
    }
}

/// How long ago moments were that a Job waits from. Where the clock was set back one may lie ahead: it counts from
/// when it was seen first, or whoever waits would wait until the clock is there again.
#[derive(Debug, Default)]
pub(super) struct Passed(HashMap<Timestamp, Duration>);

impl Passed {
    /// What has passed of these moments; `ages` remembers those of the last look.
    pub(super) fn look(
        ages: &mut Ages<Timestamp>,
        clock: &dyn Clock,
        moments: impl IntoIterator<Item = Timestamp>,
    ) -> Self {
        Self(ages.look(clock, moments.into_iter().map(|moment| (moment, moment))))
    }

    pub(super) fn since(&self, moment: Timestamp, now: Timestamp) -> Duration {
        let told = || Duration::try_from(now.duration_since(moment)).unwrap_or_default();
        self.0.get(&moment).copied().unwrap_or_else(told)
    }
}

#[cfg(test)]
mod tests {
    use base::clock::ManualClock;
    use serde_json::json;

    use super::*;

    /// A pod that ended so many seconds after the begin.
    fn pod(second: i64) -> Pod {
        let time = at(second).to_string();
        let status = json!({"name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": time}}});
        serde_json::from_value(json!({"status": {"containerStatuses": [status]}})).expect("a pod")
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("a time")
    }

    #[track_caller]
    fn check(before: (u32, Option<i64>), succeeded: &[i64], failed: &[i64], expected: (u32, Option<i64>)) {
        let record = |(count, last): (u32, Option<i64>)| Failures { count, last: last.map(at) };
        let (succeeded, failed): (Vec<Pod>, Vec<Pod>) =
            (succeeded.iter().copied().map(pod).collect(), failed.iter().copied().map(pod).collect());
        let after =
            record(before).and(&succeeded.iter().collect::<Vec<_>>(), &failed.iter().collect::<Vec<_>>());
        assert_eq!(after, record(expected));
    }

    #[test]
    fn failures_are_counted_from_the_last_success_on() {
        check((0, None), &[], &[], (0, None));
        check((0, None), &[], &[3, 1], (2, Some(3)));
        check((2, Some(3)), &[], &[9], (3, Some(9)));
        check((2, Some(3)), &[7], &[], (0, None));
        check((2, Some(3)), &[7], &[6, 8], (1, Some(8)));
        check((2, Some(3)), &[7], &[6, 7], (0, None));
        check((2, Some(3)), &[], &[], (2, Some(3)));
    }

    #[test]
    fn the_wait_doubles_and_ends() {
        let wait = |count, passed| {
            let failures = Failures { count, last: Some(at(0)) };
            failures.remaining(|last| Passed::default().since(last, at(passed))).as_secs()
        };
        assert_eq!((wait(0, 0), wait(1, 0), wait(2, 0), wait(3, 0)), (0, 10, 20, 40));
        assert_eq!((wait(7, 0), wait(8, 0), wait(1000, 0)), (600, 600, 600));
        assert_eq!((wait(1, 4), wait(1, 10), wait(1, 1000)), (6, 0, 0));
    }

    #[test]
    fn who_waits_does_not_wait_for_a_clock_that_was_set_back() {
        let clock = ManualClock::new(at(-3600));
        let (mut ages, failures) = (Ages::default(), Failures { count: 1, last: Some(at(0)) });
        let mut wait = || {
            let passed = Passed::look(&mut ages, &clock, failures.last);
            failures.remaining(|last| passed.since(last, clock.now())).as_secs()
        };
        assert_eq!(wait(), 10);
        clock.advance(Duration::from_secs(4));
        assert_eq!(wait(), 6);
        clock.set(at(-86_400));
        assert_eq!(wait(), 6);
        clock.advance(Duration::from_secs(6));
        assert_eq!(wait(), 0);
    }
}

//! When those that are refused are asked to come again: later, the more there are.

use std::collections::VecDeque;

/// The longest that anybody is sent away for, in seconds.
const LONGEST: u64 = 32;

/// The refusals of one level, by second.
#[derive(Debug)]
pub(super) struct Refusals {
    /// The seconds that are over, with what was refused in each.
    history: VecDeque<(u64, u64)>,
    now: (u64, u64),
    after: u64,
    raised: Option<u64>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { history: VecDeque::new(), now: (0, 0), after: 1, raised: None }
    }
}

impl Refusals {
    /// Another one was refused in this second; how many seconds it is to stay away.
    pub(super) fn add(&mut self, second: u64) -> u64 {
        if second <= self.now.0 {
            self.now.1 += 1;
            return self.after;
        }
        self.history.push_back(self.now);
        self.history.retain(|(then, count)| second - then <= LONGEST && *count > 0);
        self.now = (second, 1);
        self.change(second);
        self.after
    }

    fn change(&mut self, second: u64) {
        let lately = self.history.iter().filter(|(then, _)| second - then <= self.after);
        let count: u64 = lately.map(|(_, count)| count).sum();
        // Not twice for one crowd.
        let rested = self.raised.is_none_or(|raised| second - raised >= self.after);
        if rested && count >= 3 * self.after {
            self.after = (2 * self.after).min(LONGEST);
            self.raised = Some(second);
        } else if count < self.after && self.after > 1 {
            self.after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_sent_away_for_longer_and_longer_and_few_for_a_second() {
        let mut refusals = Refusals::default();
        let mut told = Vec::new();
        for second in 1..70 {
            let all: Vec<u64> = (0..100).map(|_| refusals.add(second)).collect();
            assert!(all.iter().all(|one| one == all.last().expect("some")));
            told.push(all[0]);
        }
        told.dedup();
        assert_eq!(told, [1, 2, 4, 8, 16, 32]);
        // One now and then: back to a second, step by step.
        let mut told: Vec<u64> = (0..40).map(|number| refusals.add(200 + 100 * number)).collect();
        assert_eq!((told[0], told[30], told[39]), (31, 1, 1));
        told.dedup();
        assert_eq!(told.len(), 31);
        assert!(refusals.history.len() <= LONGEST as usize + 1, "nothing is kept for ever");
    }
}

//! The pods that wait for a node, in the order in which they are tried.
//!
//! ```text
//!            ┌───────────── back-off is over ──────────────┐
//!            ▼                                             │
//!   new ─▶ active ── tried ──▶ assumed ── not written ──▶ back-off
//!            ▲         │                                   ▲
//!            │         ├─ refused ─▶ unschedulable ────────┘ news that may help, while it backs off still
//!            ├─────────│─────────────────┘ news that may help, a change of the pod, or five minutes
//!            │         └─ its group is not there yet ─▶ held
//!            └───────────────────────────────────────────┘ it is
//! ```
//!
//! The order is that of priority, then of time. Back-off is one second after the first attempt and
//! doubles up to ten, as Kubernetes' scheduler has it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::framework::Refusers;
use super::pod::{PodInfo, Uid};

/// So long a pod waits for news at most.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// A pod with how often it was tried.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) pod: Arc<PodInfo>,
    /// The larger, the later it came.
    pub(super) came: u64,
    /// How often it was tried, this time included.
    number: u32,
    /// When it came to wait for a node.
    since: Duration,
    backs_off_until: Duration,
}

/// How often a pod was tried until it was given a node, and since when it had waited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tries {
    /// How often, the last time included.
    pub number: u32,
    /// Since when, by the steady clock.
    pub since: Duration,
}

/// How many pods came into which line for what, by Kubernetes' names of both.
pub type Incoming = BTreeMap<(&'static str, &'static str), u64>;

/// For what pods come into lines but for news, which have names of their own.
const ADDED: &str = "PodAdd";
const CHANGED: &str = "PodUpdate";
const FAILED: &str = "ScheduleAttemptFailure";
const BACKED_OFF: &str = "BackoffComplete";
/// The group is there, or is no more.
pub(super) const OF_GROUP: &str = "PodGroupUpdate";
const OUT_OF_PATIENCE: &str = "UnschedulableTimeout";

/// The pods that wait; those that are being tried, or assumed, are not in it.
///
/// Moments are those of the steady clock, and passed in.
#[derive(Debug)]
pub(super) struct Queue {
    first_back_off: Duration,
    most_back_off: Duration,
    pods: HashMap<Uid, Waiting>,
    active: BTreeMap<Position, Uid>,
    back_off: BTreeMap<Position, Uid>,
    unschedulable: BTreeMap<Position, Uid>,
    held: BTreeMap<Position, Uid>,
    /// Makes every position in a line its own.
    ticket: u64,
    /// Since it was taken last.
    incoming: Incoming,
}

#[derive(Debug)]
struct Waiting {
    attempt: Attempt,
    line: Line,
    position: Position,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Active,
    BackOff,
    /// With the filters whose minds would have to change.
    Unschedulable(Refusers),
    /// It is not to be tried before it is let go.
    Held,
}

/// Where a pod stands in its line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Position {
    /// The highest first; all are equal in lines that time alone moves.
    priority: Reverse<i32>,
    /// When it came to the active line; when it leaves the others, at the latest.
    at: Duration,
    ticket: u64,
}

/// What came of news.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Woken {
    /// So many pods waited for news.
    pub(super) asked: usize,
    /// To so many they may help.
    pub(super) moved: usize,
}

impl Queue {
    /// With nobody in it; how long a pod waits after it was tried once, and at most.
    pub(super) fn new(first_back_off: Duration, most_back_off: Duration) -> Self {
        Self {
            first_back_off,
            most_back_off,
            pods: HashMap::default(),
            active: BTreeMap::default(),
            back_off: BTreeMap::default(),
            unschedulable: BTreeMap::default(),
            held: BTreeMap::default(),
            ticket: 0,
            incoming: Incoming::default(),
        }
    }

    /// Takes a pod in, or what is new about one that waits.
    pub(super) fn set(&mut self, pod: PodInfo, now: Duration) {
        let uid = pod.id.uid.clone();
        match self.pods.get_mut(&uid) {
            None => {
                let came = self.ticket;
                let attempt =
                    Attempt { pod: Arc::new(pod), came, number: 0, since: now, backs_off_until: now };
                self.enter(attempt, Line::Active, now, ADDED);
            }
            Some(waiting) if *waiting.attempt.pod == pod => {}
            Some(waiting) => {
                let keeps_its_turn =
                    matches!(waiting.line, Line::Active) && waiting.attempt.pod.priority() == pod.priority();
                waiting.attempt.pod = Arc::new(pod);
                // It may ask for less now, or put up with more.
                if !keeps_its_turn {
                    self.retry(&uid, now, CHANGED);
                }
            }
        }
    }

    /// Forgets a pod.
    pub(super) fn remove(&mut self, uid: &Uid) {
        self.leave(uid);
    }

    /// The next pod to try.
    pub(super) fn pop(&mut self) -> Option<Attempt> {
        let (_, uid) = self.active.pop_first()?;
        let mut attempt = self.pods.remove(&uid).expect("who stands in a line waits").attempt;
        attempt.number += 1;
        Some(attempt)
    }

    /// Takes a pod out to try it now, wherever it stands.
    pub(super) fn take(&mut self, uid: &Uid) -> Option<Attempt> {
        let mut attempt = self.leave(uid)?;
        attempt.number += 1;
        Some(attempt)
    }

    /// The pod was not tried, and is not to be before it is let go.
    pub(super) fn hold(&mut self, mut attempt: Attempt, now: Duration) {
        attempt.number -= 1;
        self.enter(attempt, Line::Held, now, FAILED);
    }

    /// Lets a pod go that is held.
    pub(super) fn let_go(&mut self, uid: &Uid, now: Duration) {
        if self.pods.get(uid).is_some_and(|waiting| matches!(waiting.line, Line::Held)) {
            self.retry(uid, now, OF_GROUP);
        }
    }

    /// Whether some pod is held.
    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// One who waits.
    pub(super) fn pod(&self, uid: &Uid) -> Option<&PodInfo> {
        self.pods.get(uid).map(|waiting| &*waiting.attempt.pod)
    }

    /// No node could take the pod: it waits for news that may change the mind of one of those filters.
    pub(super) fn refused(&mut self, mut attempt: Attempt, by: Refusers, now: Duration) {
        attempt.backs_off_until = now + self.back_off(&attempt);
        self.enter(attempt, Line::Unschedulable(by), now, FAILED);
    }

    /// The attempt came to nothing for a reason of its own: it is made again after a back-off, which is
    /// given.
    pub(super) fn failed(&mut self, mut attempt: Attempt, now: Duration) -> Duration {
        let delay = self.back_off(&attempt);
        attempt.backs_off_until = now + delay;
        self.enter(attempt, Line::BackOff, now, FAILED);
        delay
    }

    /// Tries those pods again, now or after their back-off, for which news of this name may help.
    pub(super) fn wake(
        &mut self,
        now: Duration,
        news: &'static str,
        may_help: impl Fn(&PodInfo, Refusers) -> bool,
    ) -> Woken {
        let worth_it = |uid: &&Uid| {
            let waiting = &self.pods[*uid];
            matches!(waiting.line, Line::Unschedulable(by) if may_help(&waiting.attempt.pod, by))
        };
        let asked = self.unschedulable.len();
        let woken: Vec<Uid> = self.unschedulable.values().filter(worth_it).cloned().collect();
        woken.iter().for_each(|uid| self.retry(uid, now, news));
        Woken { asked, moved: woken.len() }
    }

    /// Whether some pod waits for news.
    pub(super) fn awaits_news(&self) -> bool {
        !self.unschedulable.is_empty()
    }

    /// Lets those pass whose time has come.
    pub(super) fn advance(&mut self, now: Duration) {
        let is_due = |(position, _): &(&Position, &Uid)| position.at <= now;
        for (line, why) in [(&self.unschedulable, OUT_OF_PATIENCE), (&self.back_off, BACKED_OFF)]
            .map(|(line, why)| (line.iter().take_while(is_due).map(|(_, uid)| uid.clone()).collect(), why))
        {
            let due: Vec<Uid> = line;
            due.iter().for_each(|uid| self.retry(uid, now, why));
        }
    }

    /// When [`Queue::advance`] will find something to do.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let lines = [&self.back_off, &self.unschedulable].into_iter();
        lines.filter_map(|line| line.first_key_value()).map(|(position, _)| position.at).min()
    }

    /// How many pods are to be tried, back off, wait for news, and are held.
    pub(super) fn lengths(&self) -> [usize; 4] {
        [self.active.len(), self.back_off.len(), self.unschedulable.len(), self.held.len()]
    }

    /// Which pods came into which lines since this was asked last.
    pub(super) fn take_incoming(&mut self) -> Incoming {
        std::mem::take(&mut self.incoming)
    }

    /// Those who wait for news.
    #[cfg(test)]
    pub(super) fn unschedulable(&self) -> impl Iterator<Item = &PodInfo> {
        self.unschedulable.values().map(|uid| &*self.pods[uid].attempt.pod)
    }

    /// The uids of all who wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Uid> {
        self.pods.keys()
    }

    /// How long after this attempt the next may come.
    fn back_off(&self, attempt: &Attempt) -> Duration {
        // Doubled more often it is past the most anyway.
        let doubled = attempt.number.saturating_sub(1).min(16);
        self.first_back_off.saturating_mul(2_u32.pow(doubled)).min(self.most_back_off)
    }

    /// Moves a pod to where it is tried again, as soon as its back-off lets it.
    pub(super) fn retry(&mut self, uid: &Uid, now: Duration, why: &'static str) {
        if let Some(attempt) = self.leave(uid) {
            let line = if attempt.backs_off_until > now { Line::BackOff } else { Line::Active };
            self.enter(attempt, line, now, why);
        }
    }

    fn enter(&mut self, attempt: Attempt, line: Line, now: Duration, why: &'static str) {
        self.ticket += 1;
        *self.incoming.entry((line.name(), why)).or_default() += 1;
        let (priority, at) = match line {
            Line::Active => (attempt.pod.priority(), now),
            Line::BackOff => (0, attempt.backs_off_until),
            Line::Unschedulable(_) => (0, now + PATIENCE),
            Line::Held => (0, now),
        };
        let position = Position { priority: Reverse(priority), at, ticket: self.ticket };
        let uid = attempt.pod.id.uid.clone();
        self.line(line).insert(position, uid.clone());
        self.pods.insert(uid, Waiting { attempt, line, position });
    }

    fn leave(&mut self, uid: &Uid) -> Option<Attempt> {
        let waiting = self.pods.remove(uid)?;
        self.line(waiting.line).remove(&waiting.position);
        Some(waiting.attempt)
    }

    fn line(&mut self, line: Line) -> &mut BTreeMap<Position, Uid> {
        match line {
            Line::Active => &mut self.active,
            Line::BackOff => &mut self.back_off,
            Line::Unschedulable(_) => &mut self.unschedulable,
            Line::Held => &mut self.held,
        }
    }
}

impl Attempt {
    /// How often it was tried by now, and since when it waits.
    pub(super) fn tries(&self) -> Tries {
        Tries { number: self.number, since: self.since }
    }
}

impl Line {
    /// What it is called by Kubernetes.
    fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::BackOff => "backoff",
            Self::Unschedulable(_) => "unschedulable",
            Self::Held => "gated",
        }
    }
}

#[cfg(test)]
mod tests;

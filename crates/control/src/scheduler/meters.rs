//! What is counted of scheduling, for all of this process, under the names of Kubernetes' scheduler.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Family, Gauge, Histogram, Text};

const ATTEMPT_SECONDS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
const QUEUES: [&str; 4] = ["active", "backoff", "unschedulable", "gated"];

struct All {
    attempts: Family<Counter, 2>,
    took: Family<Histogram, 2>,
    pending: Family<Gauge, 1>,
}

static ALL: LazyLock<All> = LazyLock::new(|| All {
    attempts: Family::new(["profile", "result"], Counter::default),
    took: Family::new(["profile", "result"], || Histogram::of_seconds(ATTEMPT_SECONDS)),
    pending: Family::new(["queue"], Gauge::default),
});

/// What became of an attempt to give a pod a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempted {
    Scheduled,
    Unschedulable,
    Error,
}

/// An attempt has ended after so long.
pub(super) fn attempted(profile: &str, result: Attempted, took: Duration) {
    let result = match result {
        Attempted::Scheduled => "scheduled",
        Attempted::Unschedulable => "unschedulable",
        Attempted::Error => "error",
    };
    ALL.attempts.with([profile, result]).increment();
    ALL.took.with([profile, result]).observe(took);
}

/// So many pods are to be tried, back off, wait for news, and are held until their groups are there.
pub(super) fn pending(lengths: [usize; 4]) {
    for (queue, length) in QUEUES.into_iter().zip(lengths) {
        ALL.pending.with([queue]).set(i64::try_from(length).unwrap_or(i64::MAX));
    }
}

/// Writes what is counted.
pub(crate) fn write(text: &mut Text) {
    let help = "[STABLE] Number of pending pods, by the queue type. 'active' means number of pods in activeQ; \
                'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in \
                unschedulablePods that the scheduler attempted to schedule and failed; 'gated' is the number of \
                unschedulable pods that the scheduler never attempted to schedule because they are gated.";
    ALL.pending.write(text, "scheduler_pending_pods", help);
    let help = "[STABLE] Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be \
                scheduled, while 'error' means an internal scheduler problem.";
    ALL.attempts.write(text, "scheduler_schedule_attempts_total", help);
    let help = "[STABLE] Scheduling attempt latency in seconds (scheduling algorithm + binding)";
    ALL.took.write(text, "scheduler_scheduling_attempt_duration_seconds", help);
}

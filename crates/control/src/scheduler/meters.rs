//! What is counted of scheduling, for all of this process, under the names of Kubernetes' scheduler.

use std::sync::LazyLock;
use std::time::Duration;

use metrics::{Counter, Family, Gauge, Histogram, Kind, Text};

use super::planner::Incoming;

const ATTEMPT_SECONDS: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
const TRIES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0];
/// All tries of more are one.
const MOST_TRIES: u32 = 15;
const UNTIL_PLACED_SECONDS: &[f64] = &[
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36, 1310.72, 2621.44, 5242.88,
];
const VICTIMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
const QUEUES: [&str; 4] = ["active", "backoff", "unschedulable", "gated"];

struct All {
    attempts: Family<Counter, 2>,
    took: Family<Histogram, 2>,
    pending: Family<Gauge, 1>,
    incoming: Family<Counter, 2>,
    tries: Histogram,
    until_placed: Family<Histogram, 1>,
    sought_room: Counter,
    victims: Histogram,
}

static ALL: LazyLock<All> = LazyLock::new(|| All {
    attempts: Family::new(["profile", "result"], Counter::default),
    took: Family::new(["profile", "result"], || Histogram::of_seconds(ATTEMPT_SECONDS)),
    pending: Family::new(["queue"], Gauge::default),
    incoming: Family::new(["queue", "event"], Counter::default),
    tries: Histogram::of_amounts(TRIES),
    until_placed: Family::new(["attempts"], || Histogram::of_seconds(UNTIL_PLACED_SECONDS)),
    sought_room: Counter::default(),
    victims: Histogram::of_amounts(VICTIMS),
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

/// So many pods have come into which queue for what.
pub(super) fn incoming(incoming: Incoming) {
    for ((queue, event), count) in incoming {
        ALL.incoming.with([queue, event]).add(count);
    }
}

/// A pod was given a node after so many tries, and so long after it began to wait for one.
pub(super) fn placed(tries: u32, waited: Duration) {
    ALL.tries.observe_amount(tries.into());
    let label = if tries > MOST_TRIES { format!("{MOST_TRIES}+") } else { tries.to_string() };
    ALL.until_placed.with([&label]).observe(waited);
}

/// It was looked for a node where others could go for a pod, and found with so many of them.
pub(super) fn sought_room(victims: Option<usize>) {
    ALL.sought_room.increment();
    if let Some(victims) = victims {
        ALL.victims.observe_amount(victims as u64);
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
    let help = "[STABLE] Number of pods added to scheduling queues by event and queue type.";
    ALL.incoming.write(text, "scheduler_queue_incoming_pods_total", help);
    let help = "[STABLE] Number of attempts to successfully schedule a pod.";
    text.block("scheduler_pod_scheduling_attempts", Kind::Histogram, help).histogram(&[], &ALL.tries);
    let help = "[BETA] E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and \
                might involve multiple scheduling attempts.";
    ALL.until_placed.write(text, "scheduler_pod_scheduling_sli_duration_seconds", help);
    let help = "[STABLE] Total preemption attempts in the cluster till now";
    text.single("scheduler_preemption_attempts_total", Kind::Counter, help, ALL.sought_room.get());
    let help = "[STABLE] Number of selected preemption victims";
    text.block("scheduler_preemption_victims", Kind::Histogram, help).histogram(&[], &ALL.victims);
}

//! What is counted of queues, by their names, for all of this process.

use std::sync::{Arc, LazyLock};

use metrics::{Counter, Family, Gauge, Histogram, Text};

const SECONDS: &[f64] = &[1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0];

/// What is counted of one queue.
pub(super) struct Meters {
    pub(super) adds: Arc<Counter>,
    pub(super) retries: Arc<Counter>,
    pub(super) depth: Arc<Gauge>,
    pub(super) waited: Arc<Histogram>,
    pub(super) worked: Arc<Histogram>,
}

struct All {
    adds: Family<Counter, 1>,
    retries: Family<Counter, 1>,
    depth: Family<Gauge, 1>,
    waited: Family<Histogram, 1>,
    worked: Family<Histogram, 1>,
}

static ALL: LazyLock<All> = LazyLock::new(|| All {
    adds: Family::new(["name"], Counter::default),
    retries: Family::new(["name"], Counter::default),
    depth: Family::new(["name"], Gauge::default),
    waited: Family::new(["name"], || Histogram::of_seconds(SECONDS)),
    worked: Family::new(["name"], || Histogram::of_seconds(SECONDS)),
});

impl Meters {
    /// Those of the queue of this name; a queue that takes its place goes on with them.
    pub(super) fn of(name: &'static str) -> Self {
        let depth = ALL.depth.with([name]);
        depth.set(0);
        Self {
            adds: ALL.adds.with([name]),
            retries: ALL.retries.with([name]),
            depth,
            waited: ALL.waited.with([name]),
            worked: ALL.worked.with([name]),
        }
    }
}

/// Writes what is counted of all queues that have a name.
pub fn write_metrics(text: &mut Text) {
    ALL.adds.write(text, "workqueue_adds_total", "[ALPHA] Total number of adds handled by workqueue");
    ALL.depth.write(text, "workqueue_depth", "[ALPHA] Current depth of workqueue");
    let help = "[ALPHA] How long in seconds an item stays in workqueue before being requested.";
    ALL.waited.write(text, "workqueue_queue_duration_seconds", help);
    let help = "[ALPHA] How long in seconds processing an item from workqueue takes.";
    ALL.worked.write(text, "workqueue_work_duration_seconds", help);
    ALL.retries.write(
        text,
        "workqueue_retries_total",
        "[ALPHA] Total number of retries handled by workqueue",
    );
}

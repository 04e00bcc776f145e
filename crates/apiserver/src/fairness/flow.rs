//! A schema while the server runs, and what is counted of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};

use super::level::Level;
use super::queues::Refusal;
use super::schema::Distinguisher;

/// The requests of one schema.
pub(crate) struct Flow {
    pub(super) name: String,
    pub(super) level: Arc<Level>,
    pub(super) distinguisher: Option<Distinguisher>,
    /// The uids of the schema and of its level, as answers tell them.
    pub(super) marks: Option<[HeaderValue; 2]>,
    pub(super) counts: Arc<Counts>,
}

/// What is counted of the requests of a schema since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) dispatched: AtomicU64,
    pub(super) refused: [AtomicU64; 4],
    pub(super) waiting: AtomicI64,
    pub(super) executing: AtomicI64,
    /// How long those waited that were let in, and those that were not.
    pub(super) waited: [Histogram; 2],
    pub(super) took: Histogram,
    /// The seats of those that are served.
    pub(super) seats: AtomicI64,
}

/// Durations, counted by how long they are.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanoseconds: AtomicU64,
}

/// The upper ends of durations that are counted together, in milliseconds; what is longer has a place after them.
pub const BUCKETS: [u64; 12] = [0, 5, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000];

/// Durations as they were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    /// How many were no longer than each of [`BUCKETS`] and longer than the one before, and how many longer than all.
    pub counts: [u64; BUCKETS.len() + 1],
    /// All together.
    pub sum: Duration,
}

static MARKS: [HeaderName; 2] = [
    HeaderName::from_static("x-kubernetes-pf-flowschema-uid"),
    HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid"),
];

impl Flow {
    /// Tells in an answer by what its request was let in or refused.
    pub(crate) fn mark<B>(&self, response: &mut Response<B>) {
        for (name, mark) in MARKS.iter().zip(self.marks.iter().flatten()) {
            response.headers_mut().insert(name.clone(), mark.clone());
        }
    }
}

impl Counts {
    /// One begins to wait.
    pub(super) fn queued(&self) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
    }

    /// One is served, after it has waited so long if it had to.
    pub(super) fn dispatched(&self, waited: Option<Duration>, seats: u32) {
        if waited.is_some() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        self.waited[0].add(waited.unwrap_or_default());
        self.dispatched.fetch_add(1, Ordering::Relaxed);
        self.executing.fetch_add(1, Ordering::Relaxed);
        self.seats.fetch_add(i64::from(seats), Ordering::Relaxed);
    }

    /// One does not wait any more.
    pub(super) fn gave_up(&self, waited: Duration) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.waited[1].add(waited);
    }

    pub(super) fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// One is not served any more, which had so many seats.
    pub(super) fn finished(&self, took: Duration, seats: u32) {
        self.executing.fetch_sub(1, Ordering::Relaxed);
        self.seats.fetch_sub(i64::from(seats), Ordering::Relaxed);
        self.took.add(took);
    }
}

impl Histogram {
    fn add(&self, duration: Duration) {
        let at = BUCKETS.partition_point(|end| Duration::from_millis(*end) < duration);
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    pub(super) fn counted(&self) -> Durations {
        Durations {
            counts: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum: Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)),
        }
    }
}

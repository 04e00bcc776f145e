//! One number, or one distribution of them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// What only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// What goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// How many of what was seen were how large.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// By bucket, the last for what is larger than every bound.
    counts: Box<[AtomicU64]>,
    /// Of nanoseconds, where it is of seconds.
    sum: AtomicU64,
    parts: f64,
}

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many there were.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    /// So many more, or fewer.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// So many.
    pub fn set(&self, now: i64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// At least so many.
    pub fn raise(&self, now: i64) {
        self.0.fetch_max(now, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// Of durations, with bounds in seconds that grow.
    pub fn of_seconds(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1e9)
    }

    /// Of amounts, with bounds that grow.
    pub fn of_amounts(bounds: &'static [f64]) -> Self {
        Self::new(bounds, 1.0)
    }

    fn new(bounds: &'static [f64], parts: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0), parts }
    }

    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        self.note(took.as_secs_f64(), u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Something was so much.
    pub fn observe_amount(&self, amount: u64) {
        self.note(amount as f64, amount);
    }

    fn note(&self, value: f64, units: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(units, Ordering::Relaxed);
    }

    /// How many were in each bucket, by its upper bound; the last has none.
    pub(crate) fn counts(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(&self.counts).map(|(bound, count)| (bound, count.load(Ordering::Relaxed))).collect()
    }

    pub(crate) fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / self.parts
    }
}

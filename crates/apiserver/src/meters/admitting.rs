//! Who lets writes pass: each write is counted for each of them twice, so that they are looked up once.

use std::sync::{Arc, OnceLock};

use metrics::Histogram;

use crate::admission::Operation;

/// The four operations, changed and looked at.
const WAYS: usize = 8;

/// The histograms of those who admit, by their places.
pub(crate) struct Admitting(Vec<[OnceLock<Arc<Histogram>>; WAYS]>);

impl Admitting {
    /// For so many of them.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count).map(|_| Default::default()).collect())
    }

    /// The histogram of one of them, which `find` gives at first.
    pub(crate) fn of(
        &self,
        place: usize,
        operation: Operation,
        validates: bool,
        find: impl FnOnce() -> Arc<Histogram>,
    ) -> &Histogram {
        let way = operation as usize * 2 + usize::from(validates);
        self.0[place][way].get_or_init(find)
    }
}

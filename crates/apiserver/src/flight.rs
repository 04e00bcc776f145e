//! How many requests may be under way at once.

use std::sync::Arc;

use model::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Result;

const READS: usize = 800;
const WRITES: usize = 400;

/// Bounds the requests under way. Watches, logs and streams do not count: they wait, not work.
pub(crate) struct Flight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Flight {
    pub(crate) fn new() -> Self {
        Self { reads: Arc::new(Semaphore::new(READS)), writes: Arc::new(Semaphore::new(WRITES)) }
    }

    /// A place, kept until it is dropped; refused with 429 where there is none.
    pub(crate) fn board(&self, read: bool) -> Result<OwnedSemaphorePermit> {
        let places = if read { &self.reads } else { &self.writes };
        places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Status::too_many_requests("Too many requests, please try again later.", 1).into())
    }
}

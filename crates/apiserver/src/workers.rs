//! Where long computations run: beside the threads that answer everybody, so many at once, in steps.
//!
//! Looking through ten thousand objects, or making a table of them, takes a good part of a second. It is
//! done in steps of a few milliseconds on threads of its own, so that small requests do not wait for it;
//! between two steps others get their turn, and it ends where its client has gone. Users share their
//! places; the server's own components have others.

use offload::Threads;

/// Places for long computations.
pub(crate) struct Workers {
    users: Threads,
    own: Threads,
    /// For documents of the API's own description: one takes a while, and all are remembered.
    documents: Threads,
}

/// Documents that are made at a time.
const DOCUMENTS: usize = 4;

impl Workers {
    /// As many places as leave a processor to everybody else, one at least.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = || Threads::new(processors.saturating_sub(1).max(1));
        Self { users: places(), own: places(), documents: Threads::new(DOCUMENTS) }
    }

    /// Runs one step. A panic in it is passed on to the caller.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        own: bool,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let places = if own { &self.own } else { &self.users };
        places.run(step).await
    }

    /// Makes a document.
    pub(crate) async fn document<T: Send + 'static>(&self, make: impl FnOnce() -> T + Send + 'static) -> T {
        self.documents.run(make).await
    }
}

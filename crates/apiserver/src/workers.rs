//! Where long computations run: beside the threads that answer everybody, so many at once, in steps.
//!
//! Looking through ten thousand objects, or making a table of them, takes a good part of a second. It is
//! done in steps of a few milliseconds on threads of its own, so that small requests do not wait for it;
//! between two steps others get their turn, and it ends where its client has gone. Users share their
//! places; the server's own components have others.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Places for long computations.
pub(crate) struct Workers {
    users: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Workers {
    /// As many places as leave a processor to everybody else, one at least.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = || Arc::new(Semaphore::new(processors.saturating_sub(1).max(1)));
        Self { users: places(), own: places() }
    }

    /// Runs one step. A panic in it is passed on to the caller.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        own: bool,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let places = if own { &self.own } else { &self.users };
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        let done = tokio::task::spawn_blocking(move || {
            let done = step();
            drop(place);
            done
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => panic!("the runtime is shutting down: {error}"),
            },
        }
    }
}

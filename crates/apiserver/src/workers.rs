//! Where long computations run: beside the threads that answer everybody, so many at once, in steps.
//!
//! Looking through ten thousand objects, or making a table of them, takes a good part of a second. It is
//! done in steps of a few milliseconds on threads of its own, so that small requests do not wait for it;
//! between two steps others get their turn, and it ends where its client has gone. Users share their
//! places; the server's own components have others.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use offload::Threads;
use tokio::sync::Notify;

/// Places for long computations.
pub(crate) struct Workers {
    users: Threads,
    own: Threads,
    /// For documents of the API's own description: one takes a while, and all are remembered.
    documents: Threads,
    /// For what others say of themselves, who may say anything: one after the other.
    sayings: Threads,
}

/// Documents that are made at a time.
const DOCUMENTS: usize = 4;

/// Tells that something that waited can go on.
struct Woken(Notify);

impl Workers {
    /// As many places as leave a processor to everybody else, one at least.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let places = || Threads::new(processors.saturating_sub(1).max(1));
        Self { users: places(), own: places(), documents: Threads::new(DOCUMENTS), sayings: Threads::new(1) }
    }

    /// Runs what computes long and waits now and then, for the store mostly. Whenever it can go on it does
    /// so as a step; while it waits it has no place.
    pub(crate) async fn drive<F>(&self, own: bool, work: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let woken = Arc::new(Woken(Notify::new()));
        let mut work = Box::pin(work);
        loop {
            let waker = Waker::from(woken.clone());
            let step = move || {
                let polled = work.as_mut().poll(&mut Context::from_waker(&waker));
                (work, polled)
            };
            match self.step(own, step).await {
                (_, Poll::Ready(done)) => return done,
                (waiting, Poll::Pending) => work = waiting,
            }
            woken.0.notified().await;
        }
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

    /// Reads what somebody else says of what he serves.
    pub(crate) async fn saying<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        self.sayings.run(read).await
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_driven_computes_elsewhere_and_has_no_place_while_it_waits() {
        let workers = Arc::new(Workers {
            users: Threads::new(1),
            own: Threads::new(1),
            documents: Threads::new(1),
            sayings: Threads::new(1),
        });
        let (go, gone) = tokio::sync::oneshot::channel::<u8>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let here = std::thread::current().id();
        let work = async move {
            assert_ne!(std::thread::current().id(), here);
            begin.send(()).expect("it listens");
            let number = gone.await.expect("somebody says");
            assert_ne!(std::thread::current().id(), here);
            number
        };
        let waiting = tokio::spawn({
            let workers = workers.clone();
            async move { workers.drive(false, work).await }
        });
        begun.await.expect("it begins");
        // The only place is free although the other is not done.
        assert_eq!(workers.step(false, || 7).await, 7);
        go.send(8).expect("it listens");
        assert_eq!(waiting.await.expect("no panic"), 8);
    }
}

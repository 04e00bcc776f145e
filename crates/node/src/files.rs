//! File work on threads of its own, so much of it at a time.
//!
//! A volume may lie on a disk that is slow or on a server that does not answer, and a pod may leave
//! more files than can be removed in a moment. Neither may hold up what else the node does, nor take
//! all the threads that others work on.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio_util::task::TaskTracker;

/// Small work at a time: making volumes, writing what they show.
const QUICK: usize = 16;
/// Removals at a time.
const REMOVALS: usize = 2;
/// Removals that take long, and perhaps for ever, and keep no other pod from being removed.
const LONG_REMOVALS: usize = 16;
/// When a removal takes long.
const LONG: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 15_000 });

/// Where file work is done.
pub(crate) struct FileWork {
    quick: Arc<Semaphore>,
    removals: Arc<Semaphore>,
    long: Arc<Semaphore>,
    /// Those who give back the place of a removal that takes long.
    waiting: TaskTracker,
}

impl FileWork {
    pub(crate) fn new() -> Self {
        Self {
            quick: Arc::new(Semaphore::new(QUICK)),
            removals: Arc::new(Semaphore::new(REMOVALS)),
            long: Arc::new(Semaphore::new(LONG_REMOVALS)),
            waiting: TaskTracker::new(),
        }
    }

    /// Does what should take no time. It goes on if the caller does not wait for it.
    pub(crate) async fn quick<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = place(&self.quick).await;
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        outcome(done.await).await
    }

    /// Removes what may be large. It goes on if the caller does not wait for it.
    pub(crate) async fn removal<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (place, long) = (place(&self.removals).await, Arc::clone(&self.long));
        let done = self.waiting.spawn(async move {
            let mut working = tokio::task::spawn_blocking(work);
            if let Ok(done) = tokio::time::timeout(LONG, &mut working).await {
                return done;
            }
            // What it waits for may never come; other pods need not wait for the same.
            let long = tokio::select! {
                done = &mut working => return done,
                long = long.acquire_owned() => long,
            };
            drop(place);
            let done = working.await;
            drop(long);
            done
        });
        match done.await {
            Ok(done) => outcome(done).await,
            Err(error) => outcome(Err(error)).await,
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed")
}

async fn outcome<T>(done: Result<T, JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and so is whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn removals_that_do_not_end_hold_up_neither_others_nor_quick_work() {
        let files = Arc::new(FileWork::new());
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let stuck: Vec<_> = (0..LONG_REMOVALS + REMOVALS)
            .map(|_| {
                let (files, released) = (Arc::clone(&files), Arc::clone(&released));
                tokio::spawn(async move {
                    files.removal(move || drop(released.lock().map(|released| released.recv()))).await
                })
            })
            .collect();
        while files.long.available_permits() > 0 || files.removals.available_permits() > 0 {
            tokio::time::sleep(LONG).await;
        }
        assert_eq!(files.quick(|| 7).await, 7);
        let waits = files.removal(|| ());
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending(), "no more removals than that at a time");
        drop(release);
        for task in stuck {
            task.await.expect("it ends");
        }
        waits.await;
    }

    #[tokio::test]
    async fn a_removal_that_takes_long_gives_its_place_to_another() {
        let files = Arc::new(FileWork::new());
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        for _ in 0..2 * REMOVALS {
            let released = Arc::clone(&released);
            let stuck = files.removal(move || drop(released.lock().map(|released| released.recv())));
            // Whoever waited for it has turned to something else.
            assert!(tokio::time::timeout(LONG * 3, stuck).await.is_err());
        }
        assert_eq!(files.removal(|| 7).await, 7);
        drop(release);
    }
}

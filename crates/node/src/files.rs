//! File work on threads of its own, so much of it at a time.
//!
//! A volume may lie on a disk that is slow or on a server that does not answer, and a pod may leave
//! more files than can be removed in a moment. Neither may hold up what else the node does, nor take
//! all the threads that others work on.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Small work at a time: making volumes, writing what they show.
const QUICK: usize = 16;
/// Removals at a time.
const REMOVALS: usize = 2;

/// Where file work is done.
pub(crate) struct FileWork {
    quick: Arc<Semaphore>,
    removals: Arc<Semaphore>,
}

impl FileWork {
    pub(crate) fn new() -> Self {
        Self { quick: Arc::new(Semaphore::new(QUICK)), removals: Arc::new(Semaphore::new(REMOVALS)) }
    }

    /// Does what should take no time. It goes on if the caller does not wait for it.
    pub(crate) async fn quick<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        Self::run(&self.quick, work).await
    }

    /// Removes what may be large. It goes on if the caller does not wait for it.
    pub(crate) async fn removal<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        Self::run(&self.removals, work).await
    }

    async fn run<T: Send + 'static>(places: &Arc<Semaphore>, work: impl FnOnce() -> T + Send + 'static) -> T {
        let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is going down, and so is whoever waits here.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn removals_that_do_not_end_hold_up_neither_each_other_s_callers_nor_quick_work() {
        let files = Arc::new(FileWork::new());
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let stuck: Vec<_> = (0..REMOVALS)
            .map(|_| {
                let (files, released) = (Arc::clone(&files), Arc::clone(&released));
                tokio::spawn(async move {
                    files.removal(move || drop(released.lock().map(|released| released.recv()))).await
                })
            })
            .collect();
        while files.removals.available_permits() > 0 {
            tokio::task::yield_now().await;
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
}

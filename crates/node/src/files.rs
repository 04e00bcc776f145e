//! File work on threads of its own, so much of it at a time.
//!
//! A volume may lie on a disk that is slow or on a server that does not answer, and a pod may leave
//! more files than can be removed in a moment. Neither may hold up what else the node does, nor take
//! all the threads that others work on.

use std::time::Duration;

use offload::{Removals, Threads};

/// Small work at a time: making volumes, writing what they show.
const QUICK: usize = 16;
/// Directories that are measured at a time.
const MEASURING: usize = 2;
/// Removals at a time.
const REMOVALS: usize = 2;
/// Removals that take long, and perhaps for ever, and keep no other pod from being removed.
const LONG_REMOVALS: usize = 16;
/// When a removal takes long.
const LONG: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 15_000 });

/// Where file work is done.
pub(crate) struct FileWork {
    quick: Threads,
    measuring: Threads,
    removals: Removals,
}

impl FileWork {
    pub(crate) fn new() -> Self {
        Self {
            quick: Threads::new(QUICK),
            measuring: Threads::new(MEASURING),
            removals: Removals::new(REMOVALS, LONG_REMOVALS, LONG),
        }
    }

    /// Does what should take no time. It goes on if the caller does not wait for it.
    pub(crate) async fn quick<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.quick.run(work).await
    }

    /// Looks how large something is, which whoever fills it decides. It goes on if the caller does not wait for it.
    pub(crate) async fn measure<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.measuring.run(work).await
    }

    /// Removes what may be large. It goes on if the caller does not wait for it.
    pub(crate) async fn removal<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.removals.run(self.removals.turn().await, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};

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
        while files.removals.free() != (0, 0) {
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
}

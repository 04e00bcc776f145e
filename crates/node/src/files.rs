//! File work on threads of its own, so much of it at a time.
//!
//! A volume may lie on a disk that is slow or on a server that does not answer, and a pod may leave
//! more files than can be removed in a moment. Neither may hold up what else the node does, nor take
//! all the threads that others work on.

use std::time::Duration;

use offload::{Busy, Removals, SharedThreads, Threads};

/// Small work at a time: making volumes, writing what they show.
const QUICK: usize = 16;
/// Directories that are measured at a time.
const MEASURING: usize = 2;
/// Pods at a time of which it is looked how much of the disk they take.
const WEIGHING: usize = 4;
/// Removals at a time.
const REMOVALS: usize = 2;
/// Removals that take long, and perhaps for ever, and keep no other pod from being removed.
const LONG_REMOVALS: usize = 16;
/// Mounts of servers at a time: for one pod, and for all.
const SERVERS: (usize, usize) = (2, 64);
/// Devices that are formatted and mounted at a time: for one pod, and for all.
const DEVICES: (usize, usize) = (2, 16);
/// Walks through volumes at a time: for one pod, and for all.
const WALKS: (usize, usize) = (1, 4);
/// How long is waited for such work, which goes on then.
pub(crate) const SLOW_TIME: Duration = Duration::from_millis(if cfg!(test) { 2_000 } else { 120_000 });
/// When a removal takes long.
const LONG: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 15_000 });

/// What work that may take very long waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slow {
    /// A server that others chose.
    Server,
    /// A device, which is formatted before it is mounted, or whose log is read.
    Device,
    /// All that is in a volume.
    Walk,
}

/// Where file work is done.
pub(crate) struct FileWork {
    quick: Threads,
    measuring: Threads,
    weighing: Threads,
    removals: Removals,
    servers: SharedThreads,
    devices: SharedThreads,
    walks: SharedThreads,
}

impl FileWork {
    pub(crate) fn new() -> Self {
        Self {
            quick: Threads::new(QUICK),
            measuring: Threads::new(MEASURING),
            weighing: Threads::new(WEIGHING),
            removals: Removals::new(REMOVALS, LONG_REMOVALS, LONG),
            servers: SharedThreads::new(SERVERS.0, SERVERS.1),
            devices: SharedThreads::new(DEVICES.0, DEVICES.1),
            walks: SharedThreads::new(WALKS.0, WALKS.1),
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

    /// Looks how much of the disk a pod takes, for a short time. Nothing else uses these threads: the disk runs short.
    pub(crate) async fn weigh<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.weighing.run(work).await
    }

    /// Does what may take very long, for a pod, on threads that nothing else waits for. It goes on if the caller does not
    /// wait for it.
    pub(crate) fn slow<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
        &self,
        kind: Slow,
        pod: String,
        work: W,
    ) -> impl Future<Output = Result<T, Busy>> + Send + use<T, W> {
        let threads = match kind {
            Slow::Server => self.servers.clone(),
            Slow::Device => self.devices.clone(),
            Slow::Walk => self.walks.clone(),
        };
        async move { Ok(threads.acquire([pod], SLOW_TIME).await?.run(work).await) }
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
    async fn servers_that_do_not_answer_take_nobody_else_s_threads() {
        let files = FileWork::new();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(std::sync::Mutex::new(released));
        let stuck: Vec<_> = (0..QUICK + 4)
            .map(|_| {
                let released = Arc::clone(&released);
                let hang = move || drop(released.lock().map(|released| released.recv()));
                tokio::spawn(files.slow(Slow::Server, "one".to_owned(), hang))
            })
            .collect();
        while files.servers.free("one") != Some(0) {
            tokio::task::yield_now().await;
        }
        assert_eq!(files.quick(|| 7).await, 7);
        assert_eq!(files.slow(Slow::Server, "other".to_owned(), || 7).await, Ok(7));
        assert_eq!(files.slow(Slow::Walk, "one".to_owned(), || 7).await, Ok(7));
        let busy = files.slow(Slow::Server, "one".to_owned(), || 7).await;
        assert_eq!(busy.expect_err("its threads are taken").name.as_deref(), Some("one"));
        drop(release);
        for task in stuck {
            let _ = task.await.expect("no panic");
        }
    }

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

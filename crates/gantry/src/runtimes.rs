//! The threads of the daemon: what one part keeps busy, or what hangs in one, stops no other.
//!
//! The API server and the controllers have a runtime of their own, the engine with the node agent and
//! the Docker API another; names are answered on a thread of the network's own. Each runtime has
//! threads of its own for work that blocks, and the engine bounds further what may wait for one
//! file system.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

/// More threads do not make containers start faster: most of what they wait for is the kernel.
const ENGINE_WORKERS: usize = 8;

/// Threads for work that blocks: far more than the engine's own bounds let through at once.
const ENGINE_BLOCKING: usize = 512;
const API_BLOCKING: usize = 64;

/// An idle thread that has blocked is kept for the next burst, but not for long: it has memory of its own.
const KEEP: Duration = Duration::from_secs(5);

/// How long work that blocks is waited for at the end; what hangs then ends with the process.
const GRACE: Duration = Duration::from_secs(2);

/// The runtimes.
pub(crate) struct Runtimes {
    engine: Runtime,
    api: Runtime,
}

impl Runtimes {
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let build = |name: &'static str, workers: usize, blocking: usize| {
            Builder::new_multi_thread()
                .thread_name(name)
                .worker_threads(workers)
                .max_blocking_threads(blocking)
                .thread_keep_alive(KEEP)
                .enable_all()
                .build()
        };
        Ok(Self {
            engine: build("engine", cores.clamp(2, ENGINE_WORKERS), ENGINE_BLOCKING)?,
            api: build("api", cores.max(2), API_BLOCKING)?,
        })
    }

    /// Where the API server and the controllers run.
    pub(crate) fn api(&self) -> Handle {
        self.api.handle().clone()
    }

    /// Runs `work` on the engine's runtime until it is done, then ends both, without waiting for what hangs.
    pub(crate) fn run<T>(self, work: impl Future<Output = T>) -> T {
        let done = self.engine.block_on(work);
        self.api.shutdown_timeout(GRACE);
        self.engine.shutdown_timeout(GRACE);
        done
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_blocks_all_workers_of_one_runtime_stops_neither_the_other_nor_the_end() {
        let runtimes = Runtimes::start().expect("start the runtimes");
        let api = runtimes.api();
        let (release, blocked) = mpsc::channel::<()>();
        let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
        runtimes.run(async {
            for _ in 0..64 {
                let blocked = blocked.clone();
                tokio::spawn(async move { drop(blocked.lock().map(|blocked| blocked.recv())) });
            }
            let answered = api.spawn(async { "answered" }).await;
            assert_eq!(answered.expect("it ends"), "answered");
            // A worker cannot be abandoned; only work that blocks where it should can.
            drop(release);
        });
        let (_never, hangs) = mpsc::channel::<()>();
        let runtimes = Runtimes::start().expect("start the runtimes");
        runtimes.run(async { drop(tokio::task::spawn_blocking(move || hangs.recv())) });
    }
}

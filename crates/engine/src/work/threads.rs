//! Threads for work that blocks, so many for each kind and no more.
//!
//! All of it shares the threads of the runtime, and none may take them all: what waits for the
//! disk of the engine's own root comes back, but a file system that others chose (a dead server's, one
//! whose program does not answer) may keep whoever asks it for ever. So each such place has a
//! few threads, all of them together have a bound that leaves enough for everything else, and whoever
//! finds none in time is told so.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offload::{Busy, Place, Removals, SharedThreads, Threads};

use tokio_util::sync::CancellationToken;

pub use crate::bridge::Upload;
use crate::error::{Error, Result};
use crate::stream::ByteStream;

/// For the engine's own files and the kernel.
const OWN: usize = 96;
/// For places that others chose: each, and all together.
const PLACE: usize = 4;
const PLACES: usize = 128;
/// For archives, which go as quickly as a client reads or sends: for each place, and all together.
const ARCHIVE: usize = 16;
const ARCHIVES: usize = 96;
/// Removals of what was thrown away: large trees must not take all the threads and the whole disk.
const REMOVALS: usize = 2;
/// Removals that take long, and perhaps for ever, and keep nobody else from removing any more.
const LONG_REMOVALS: usize = 16;
/// When a removal takes long.
const LONG: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 15_000 });
/// How long a thread is waited for.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 10 });

static THREADS: LazyLock<Kinds> = LazyLock::new(|| Kinds {
    own: Threads::new(OWN),
    places: SharedThreads::new(PLACE, PLACES),
    archives: SharedThreads::new(ARCHIVE, ARCHIVES),
});

/// The kinds of work that have threads.
struct Kinds {
    own: Threads,
    places: SharedThreads,
    archives: SharedThreads,
}

/// How much of the engine's own work has been done.
static DONE: AtomicU64 = AtomicU64::new(0);

/// Counts what is done, also if it panics.
struct Counted<'a>(&'a AtomicU64);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs `work`, which blocks on the engine's own files or the kernel, where it holds up nobody.
///
/// Fails with [`crate::Kind::Unavailable`] if no thread is free and nothing gets done on any.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = turn(&THREADS.own, &DONE).await?;
    place
        .run(move || {
            let _counted = Counted(&DONE);
            work()
        })
        .await
}

/// Waits for a thread, however long the queue is, as long as it moves.
async fn turn(threads: &Threads, done: &AtomicU64) -> Result<Place> {
    let place = threads.acquire();
    tokio::pin!(place);
    loop {
        let before = done.load(Ordering::Relaxed);
        match tokio::time::timeout(PATIENCE, &mut place).await {
            Ok(place) => return Ok(place),
            Err(_) if done.load(Ordering::Relaxed) != before => {}
            Err(_) => {
                return Err(Error::unavailable(
                    "what the engine does on its own disk does not come back: try again later, and see whether \
                     the disk of its root answers",
                ));
            }
        }
    }
}

/// Runs `work`, which looks at files that others chose: at what is mounted from the host, in a
/// running container, of a process. `places` says where: a path, a container's id.
///
/// Fails with [`crate::Kind::Unavailable`] if too much waits for one of the places already.
pub async fn foreign<T: Send + 'static>(
    places: impl IntoIterator<Item = String>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let place = THREADS.places.acquire(places, PATIENCE).await.map_err(|busy| {
        Error::unavailable(format!(
            "{busy} and do not come back, more are not possible at a time: try again later, and see whether what \
             is mounted there answers"
        ))
    })?;
    place.run(work).await
}

/// The right to move an archive between a thread and a client, which may be slow. `what` says of what the
/// archive is, and shares threads with all that is called the same.
///
/// Fails with [`crate::Kind::Unavailable`] if too much of it is moved already.
pub async fn transfer(what: impl Into<String>) -> Result<Transfer> {
    let place = THREADS.archives.acquire([what.into()], PATIENCE).await.map_err(|Busy { most, name }| {
        let what = name.map_or_else(|| "archives".to_owned(), |name| format!("archives of {name}"));
        Error::unavailable(format!(
            "{most} {what} are being moved, as many as there can be at a time: try again when one of them has ended"
        ))
    })?;
    Ok(Transfer { place })
}

/// See [`transfer`].
pub struct Transfer {
    place: Place,
}

impl Transfer {
    /// Runs `work` on a thread. It goes on if nobody waits for it.
    pub(crate) async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.place.run(work).await
    }

    /// Runs `work` on a thread with a reader of what a client sends. The reader fails when the client has
    /// sent nothing, or next to nothing, for too long, and when nobody waits for the work any more.
    pub async fn upload<T: Send + 'static>(
        self,
        sent: ByteStream,
        work: impl FnOnce(Upload) -> T + Send + 'static,
    ) -> T {
        let waited_for = CancellationToken::new();
        let upload = Upload::new(sent, waited_for.clone());
        let _waits = waited_for.drop_guard();
        self.run(move || work(upload)).await
    }
}

/// Threads for what was thrown away.
pub(crate) fn removals() -> Removals {
    Removals::new(REMOVALS, LONG_REMOVALS, LONG)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use parking_lot::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_disk_that_does_not_answer_keeps_nobody_for_ever_and_a_long_queue_gets_its_turn() {
        let (own, done) = (Threads::new(1), AtomicU64::new(0));
        let stuck = turn(&own, &done).await.expect("a thread");
        let refused = turn(&own, &done).await.expect_err("nothing is done");
        assert_eq!(refused.kind(), crate::Kind::Unavailable);
        // Another that had to wait as long, while something was done.
        let begun = std::time::Instant::now();
        let working = async {
            while begun.elapsed() < PATIENCE * 2 {
                drop(Counted(&done));
                tokio::time::sleep(PATIENCE / 20).await;
            }
            drop(stuck);
        };
        let (waited, ()) = tokio::join!(turn(&own, &done), working);
        waited.expect("its turn came");
    }

    #[tokio::test]
    async fn a_place_that_does_not_answer_stops_neither_another_nor_the_engine() {
        // As a file system that never answers.
        let (release, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        let hang = || {
            let hangs = Arc::clone(&hangs);
            let work = move || {
                let _released = hangs.lock().recv();
                Ok(())
            };
            foreign(["/dead".to_owned(), "/shared".to_owned()], work)
        };
        let mut hanging = tokio::task::JoinSet::new();
        for _ in 0..PLACE {
            hanging.spawn(hang());
        }
        while THREADS.places.free("/dead") != Some(0) {
            tokio::task::yield_now().await;
        }
        let refused = hang().await.expect_err("no thread is left for it");
        assert_eq!(refused.kind(), crate::Kind::Unavailable);
        assert!(refused.message().contains("4 operations on `/dead`"), "{refused:?}");
        foreign(["/alive".to_owned()], || Ok(())).await.expect("another place");
        blocking(|| Ok(())).await.expect("the engine's own");
        drop(release);
        while let Some(ended) = hanging.join_next().await {
            ended.expect("no panic").expect("it came back");
        }
        hang().await.expect("it answers again");
    }
}

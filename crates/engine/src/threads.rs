//! Threads for work that blocks, so many for each kind and no more.
//!
//! All of it shares the threads of the runtime, and none may take them all: what waits for the
//! disk of the engine's own root comes back, but a file system that others chose (a dead server's, one
//! whose program does not answer) may keep whoever asks it for ever. So each such place has a
//! few threads, all of them together have a bound that leaves enough for everything else, and whoever
//! finds none in time is told so.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

use crate::error::{Error, Result};

pub(crate) use offload::in_place;

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

static THREADS: LazyLock<Threads> = LazyLock::new(|| Threads {
    own: Arc::new(Semaphore::new(OWN)),
    places: Arc::new(Semaphore::new(PLACES)),
    archives: Arc::new(Semaphore::new(ARCHIVES)),
    busy: Mutex::default(),
});

/// Places for those who remove what was thrown away.
#[derive(Clone)]
pub(crate) struct Removals {
    places: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

struct Threads {
    own: Arc<Semaphore>,
    places: Arc<Semaphore>,
    archives: Arc<Semaphore>,
    /// Places that are in use.
    busy: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to use a thread for a few places; held by the work itself, however long that takes.
struct Places {
    names: Vec<String>,
    permits: Vec<OwnedSemaphorePermit>,
}

/// Runs `work`, which blocks on the engine's own files or the kernel, where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let permit = Arc::clone(&THREADS.own).acquire_owned().await;
    outcome(tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    }))
    .await
}

/// Runs `work`, which looks at files that others chose: at what is mounted from the host, in a
/// running container, of a process. `places` says where: a path, a container's id.
///
/// Fails with [`crate::Kind::Unavailable`] if too much waits for one of the places already.
pub async fn foreign<T: Send + 'static>(
    places: impl IntoIterator<Item = String>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let places = Places::take(places.into_iter().collect(), PLACE, (&THREADS.places, PLACES)).await?;
    outcome(tokio::task::spawn_blocking(move || {
        let _places = places;
        work()
    }))
    .await
}

/// The right to move an archive between a thread and a client, which may be slow, or between a
/// thread and a registry. `place` is where it comes from or goes to.
pub async fn transfer(place: impl Into<String>) -> Result<Transfer> {
    let named = vec![format!("archives of {}", place.into())];
    Ok(Transfer { _places: Places::take(named, ARCHIVE, (&THREADS.archives, ARCHIVES)).await? })
}

/// See [`transfer`]; to be moved into what runs on the thread.
pub struct Transfer {
    _places: Places,
}

impl Transfer {
    /// Runs `work` on a thread.
    pub async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        outcome(tokio::task::spawn_blocking(move || {
            let _transfer = self;
            work()
        }))
        .await
    }
}

impl Removals {
    pub(crate) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(REMOVALS)), long: Arc::new(Semaphore::new(LONG_REMOVALS)) }
    }

    /// Waits for its turn.
    pub(crate) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Runs `work`. To be waited for until it is done, or its place is free too soon.
    pub(crate) async fn run(
        &self,
        turn: Option<OwnedSemaphorePermit>,
        work: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let mut working = tokio::task::spawn_blocking(work);
        if let Ok(done) = tokio::time::timeout(LONG, &mut working).await {
            return outcome(std::future::ready(done)).await;
        }
        // What it waits for may never come; the next one need not wait for the same.
        let long = tokio::select! {
            done = &mut working => return outcome(std::future::ready(done)).await,
            long = Arc::clone(&self.long).acquire_owned() => long,
        };
        drop(turn);
        let done = outcome(working).await;
        drop(long);
        done
    }
}

impl Places {
    async fn take(
        mut names: Vec<String>,
        each: usize,
        (all, together): (&Arc<Semaphore>, usize),
    ) -> Result<Self> {
        // In one order, so that two who want the same places do not wait for each other.
        names.sort_unstable();
        names.dedup();
        let mut places = Self { names: names.clone(), permits: Vec::new() };
        for name in names {
            let place = {
                let mut busy = THREADS.busy.lock();
                Arc::clone(busy.entry(name.clone()).or_insert_with(|| Arc::new(Semaphore::new(each))))
            };
            places.permits.push(within(place, || format!("{each} operations on `{name}`")).await?);
        }
        let all = within(Arc::clone(all), || format!("{together} operations on files of others")).await?;
        places.permits.push(all);
        Ok(places)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.permits.clear();
        let mut busy = THREADS.busy.lock();
        for name in &self.names {
            // Only the map itself holds it: nobody uses it, and nobody waits for it.
            if busy.get(name).is_some_and(|place| Arc::strong_count(place) == 1) {
                busy.remove(name);
            }
        }
    }
}

async fn within(place: Arc<Semaphore>, what: impl Fn() -> String) -> Result<OwnedSemaphorePermit> {
    match tokio::time::timeout(PATIENCE, place.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Error::unavailable(format!(
            "{} are under way and do not come back, more are not possible at a time: try again later, and see \
             whether what is mounted there answers",
            what()
        ))),
    }
}

async fn outcome<T>(task: impl Future<Output = std::result::Result<Result<T>, JoinError>>) -> Result<T> {
    match task.await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::unavailable("the engine is shutting down").with_source(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

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
        while THREADS.busy.lock().get("/dead").is_none_or(|place| place.available_permits() > 0) {
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
        assert!(!THREADS.busy.lock().contains_key("/dead"), "what nobody uses is forgotten");
    }

    #[tokio::test]
    async fn removals_that_do_not_end_keep_no_other_from_its_end() {
        let removals = Removals::new();
        let (release, hangs) = mpsc::channel::<()>();
        let hangs = Arc::new(Mutex::new(hangs));
        let mut hanging = tokio::task::JoinSet::new();
        for _ in 0..LONG_REMOVALS {
            let (removals, hangs) = (removals.clone(), Arc::clone(&hangs));
            hanging.spawn(async move {
                let work = move || {
                    let _released = hangs.lock().recv();
                    Ok(())
                };
                removals.run(removals.turn().await, work).await
            });
        }
        while removals.long.available_permits() > 0 {
            tokio::time::sleep(LONG).await;
        }
        removals.run(removals.turn().await, || Ok(())).await.expect("it is removed");
        assert_eq!(removals.places.available_permits(), REMOVALS);
        drop(release);
        while let Some(ended) = hanging.join_next().await {
            ended.expect("no panic").expect("it came back");
        }
        assert_eq!(removals.long.available_permits(), LONG_REMOVALS);
    }
}

//! Threads for work that may block long: so many for each kind of it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;

/// So many threads for one kind of work. Cheap to clone; clones share the threads.
#[derive(Clone, Debug)]
pub struct Threads {
    places: Arc<Semaphore>,
}

/// Threads for one kind of work on behalf of many that have nothing to do with each other: so many
/// for each, and so many for all together. Cheap to clone; clones share the threads.
#[derive(Clone, Debug)]
pub struct SharedThreads {
    inner: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    each: usize,
    together: usize,
    all: Arc<Semaphore>,
    /// Those for whom something is under way, by name.
    busy: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// The right to use a thread. The work that uses it keeps it until it has ended, however long that
/// takes and whoever still waits for that.
#[derive(Debug)]
pub struct Place {
    permits: Vec<OwnedSemaphorePermit>,
    /// What the permits but the last are for.
    names: Vec<String>,
    shared: Option<Arc<Shared>>,
}

/// No thread was free in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// As much as this is under way.
    pub most: usize,
    /// For this one; for all together if `None`.
    pub name: Option<String>,
}

impl Threads {
    /// As many threads as `most`.
    pub fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)) }
    }

    /// Waits until a thread is free.
    pub async fn acquire(&self) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.expect("nobody closes the semaphore");
        Place { permits: vec![permit], names: Vec::new(), shared: None }
    }

    /// Runs `work` when a thread is free. It goes on if the caller does not wait for it. A panic in it
    /// unwinds in the caller.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.acquire().await.run(work).await
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }
}

impl SharedThreads {
    /// `each` threads for everyone, `together` for all.
    pub fn new(each: usize, together: usize) -> Self {
        let (all, busy) = (Arc::new(Semaphore::new(together)), Mutex::default());
        Self { inner: Arc::new(Shared { each, together, all, busy }) }
    }

    /// Waits until a thread is free for all of `names`, as long as `patience`.
    pub async fn acquire(
        &self,
        names: impl IntoIterator<Item = String>,
        patience: Duration,
    ) -> Result<Place, Busy> {
        let mut names: Vec<String> = names.into_iter().collect();
        // In one order, so that two who want the same do not wait for each other.
        names.sort_unstable();
        names.dedup();
        let shared = Some(Arc::clone(&self.inner));
        let mut place = Place { permits: Vec::new(), names: names.clone(), shared };
        for name in names {
            let one = self.inner.of(&name);
            let Some(permit) = within(one, patience).await else {
                return Err(Busy { most: self.inner.each, name: Some(name) });
            };
            place.permits.push(permit);
        }
        match within(Arc::clone(&self.inner.all), patience).await {
            Some(permit) => place.permits.push(permit),
            None => return Err(Busy { most: self.inner.together, name: None }),
        }
        Ok(place)
    }

    /// How many are free for `name`, if something is under way for it.
    pub fn free(&self, name: &str) -> Option<usize> {
        self.inner.busy.lock().get(name).map(|one| one.available_permits())
    }
}

impl Shared {
    fn of(&self, name: &str) -> Arc<Semaphore> {
        let mut busy = self.busy.lock();
        Arc::clone(busy.entry(name.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
    }
}

impl Place {
    /// For work whose place somebody else keeps.
    pub(crate) fn kept_elsewhere() -> Self {
        Self { permits: Vec::new(), names: Vec::new(), shared: None }
    }

    /// Runs `work` on the thread. It goes on if the caller does not wait for it. A panic in it unwinds in
    /// the caller.
    pub async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let working = tokio::task::spawn_blocking(move || {
            let done = work();
            drop(self);
            done
        });
        outcome(working.await).await
    }
}

/// What a task came to.
pub(crate) async fn outcome<T>(done: Result<T, JoinError>) -> T {
    match done.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        // The runtime is going down, and with it whoever waits here.
        Err(Err(_)) => std::future::pending().await,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.permits.clear();
        let Some(shared) = &self.shared else { return };
        let mut busy = shared.busy.lock();
        for name in &self.names {
            // Only the map itself holds it: nobody uses it, and nobody waits for it.
            if busy.get(name).is_some_and(|one| Arc::strong_count(one) == 1) {
                busy.remove(name);
            }
        }
    }
}

async fn within(places: Arc<Semaphore>, patience: Duration) -> Option<OwnedSemaphorePermit> {
    tokio::time::timeout(patience, places.acquire_owned()).await.ok()?.ok()
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{} operations on `{name}` are under way", self.most),
            None => write!(f, "{} operations of this kind are under way", self.most),
        }
    }
}

impl std::error::Error for Busy {}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;

    use super::*;

    const SOON: Duration = Duration::from_millis(20);

    /// Work that does not end before `release` is dropped.
    fn hanging() -> (mpsc::Sender<()>, impl Fn() -> Box<dyn FnOnce() + Send>) {
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        (release, move || {
            let released = Arc::clone(&released);
            Box::new(move || {
                let _released = released.lock().recv();
            })
        })
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_keeps_its_thread() {
        let threads = Threads::new(1);
        let (release, hang) = hanging();
        let mut tasks = JoinSet::new();
        let (one, work) = (threads.clone(), hang());
        tasks.spawn(async move { one.run(work).await });
        while threads.free() > 0 {
            tokio::task::yield_now().await;
        }
        tasks.shutdown().await;
        let next = threads.run(|| 7);
        tokio::pin!(next);
        assert!(tokio::time::timeout(SOON, &mut next).await.is_err(), "the thread is taken");
        drop(release);
        assert_eq!(next.await, 7);
    }

    #[tokio::test]
    async fn one_that_hangs_takes_neither_another_s_threads_nor_all() {
        let threads = SharedThreads::new(2, 3);
        let (release, hang) = hanging();
        let mut tasks = JoinSet::new();
        for _ in 0..2 {
            let place = threads.acquire(["dead".to_owned()], SOON).await.expect("a thread");
            tasks.spawn(place.run(hang()));
        }
        let refused = threads.acquire(["dead".to_owned(), "alive".to_owned()], SOON).await;
        assert_eq!(refused.expect_err("both are taken"), Busy { most: 2, name: Some("dead".to_owned()) });
        let other = threads.acquire(["alive".to_owned()], SOON).await.expect("another's thread");
        let refused = threads.acquire(["third".to_owned()], SOON).await.expect_err("all are taken");
        assert_eq!(refused, Busy { most: 3, name: None });
        assert_eq!(other.run(|| 7).await, 7);
        drop(release);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no panic");
        }
        assert!(threads.inner.busy.lock().is_empty(), "what nobody uses is forgotten");
        assert!(threads.acquire(["dead".to_owned()], SOON).await.is_ok(), "it answers again");
    }

    #[tokio::test]
    #[should_panic(expected = "as it should")]
    async fn a_panic_unwinds_in_whoever_waits() {
        Threads::new(1).run(|| panic!("as it should")).await
    }
}

//! Threads for removals, which may be of a great many files, or of some on a disk that does not answer.

use std::time::Duration;

use tokio_util::task::TaskTracker;

use crate::threads::{Place, Threads, outcome};

/// A few threads for removals, so that large ones do not take the whole disk; what takes long, and
/// perhaps for ever, gives its place to another. Cheap to clone; clones share the threads.
#[derive(Clone, Debug)]
pub struct Removals {
    few: Threads,
    long: Threads,
    after: Duration,
    /// Those who give back the place of a removal that takes long.
    waiting: TaskTracker,
}

impl Removals {
    /// `few` at a time, and as many as `long` more of those that have taken as long as `after`.
    pub fn new(few: usize, long: usize, after: Duration) -> Self {
        let waiting = TaskTracker::new();
        Self { few: Threads::new(few), long: Threads::new(long), after, waiting }
    }

    /// Waits for a place.
    pub async fn turn(&self) -> Place {
        self.few.acquire().await
    }

    /// Runs `work`, whose place `turn` is. It goes on if the caller does not wait for it. A panic in it
    /// unwinds in the caller.
    pub async fn run<T: Send + 'static>(&self, turn: Place, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (long, after) = (self.long.clone(), self.after);
        let done = self.waiting.spawn(async move {
            let working = Place::kept_elsewhere().run(work);
            tokio::pin!(working);
            if let Ok(done) = tokio::time::timeout(after, &mut working).await {
                return done;
            }
            // What it waits for may never come; others need not wait for the same.
            let long = tokio::select! {
                done = &mut working => return done,
                long = long.acquire() => long,
            };
            drop(turn);
            let done = working.await;
            drop(long);
            done
        });
        outcome(done.await).await
    }

    /// How many more can begin at once, and how many more may take long.
    pub fn free(&self) -> (usize, usize) {
        (self.few.free(), self.long.free())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use parking_lot::Mutex;
    use tokio::task::JoinSet;

    use super::*;

    const AFTER: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn those_that_do_not_end_keep_no_other_from_its_end() {
        let removals = Removals::new(2, 4, AFTER);
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        let mut stuck = JoinSet::new();
        for _ in 0..4 {
            let (removals, released) = (removals.clone(), Arc::clone(&released));
            stuck.spawn(async move {
                let hang = move || {
                    let _released = released.lock().recv();
                };
                removals.run(removals.turn().await, hang).await;
            });
        }
        while removals.free() != (2, 0) {
            tokio::time::sleep(AFTER).await;
        }
        assert_eq!(removals.run(removals.turn().await, || 7).await, 7);
        drop(release);
        while let Some(ended) = stuck.join_next().await {
            ended.expect("no panic");
        }
        while removals.free() != (2, 4) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn one_that_nobody_waits_for_gives_its_place_away_all_the_same() {
        let removals = Removals::new(1, 2, AFTER);
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for _ in 0..2 {
            let released = Arc::clone(&released);
            let hang = move || {
                let _released = released.lock().recv();
            };
            let stuck = removals.run(removals.turn().await, hang);
            assert!(
                tokio::time::timeout(AFTER / 2, stuck).await.is_err(),
                "whoever waited has turned to something else"
            );
        }
        assert_eq!(removals.run(removals.turn().await, || 7).await, 7);
        drop(release);
    }
}

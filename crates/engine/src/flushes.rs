//! Bringing to disk that something has been removed: one flush for all who wait for it at a time.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Flushes of directories, one after another for each.
#[derive(Default)]
pub(crate) struct Flushes(Mutex<HashMap<PathBuf, Arc<Turns>>>);

#[derive(Default)]
struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

/// Flushes are numbered from 1.
#[derive(Default)]
struct State {
    is_running: bool,
    begun: u64,
    ended: u64,
    /// The last one that failed, and how.
    failed: Option<(u64, i32)>,
}

impl Flushes {
    /// Flushes `directory`, so that what was moved out of it before this was called stays away after a
    /// power cut. Blocks.
    pub(crate) fn flush(&self, directory: &Path) -> io::Result<()> {
        self.flush_by(directory, base::fs::sync_dir)
    }

    fn flush_by(&self, directory: &Path, sync: impl Fn(&Path) -> io::Result<()>) -> io::Result<()> {
        let turns = Arc::clone(self.0.lock().entry(directory.to_owned()).or_default());
        let mut state = turns.state.lock();
        // One that runs already may have missed what its caller did.
        let wanted = state.begun + 1;
        while state.ended < wanted {
            if state.is_running {
                turns.ended.wait(&mut state);
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let number = state.begun;
            drop(state);
            let synced = sync(directory);
            state = turns.state.lock();
            state.is_running = false;
            state.ended = number;
            if let Err(error) = synced {
                state.failed =
                    Some((number, error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error())));
            }
            turns.ended.notify_all();
        }
        match state.failed {
            Some((number, error)) if number >= wanted => Err(io::Error::from_raw_os_error(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_at_the_same_time_shares_a_flush_that_begins_after_all_of_them() {
        let flushes = Flushes::default();
        let directory = Path::new("/containers");
        let (begun, runs) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let count = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let slow = |_: &Path| {
                begun.send(()).expect("the test listens");
                let _ = released.lock().recv();
                Ok(())
            };
            let flushes = &flushes;
            scope.spawn(move || flushes.flush_by(directory, slow).expect("flushed"));
            runs.recv().expect("the first flush runs");
            let waiting: Vec<_> = (0..20)
                .map(|_| {
                    let count = &count;
                    scope.spawn(move || {
                        flushes.flush_by(directory, |_| {
                            count.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                    })
                })
                .collect();
            let turns = Arc::clone(&flushes.0.lock()[directory]);
            // Each holds the turns while it waits: the map, this, the first flush.
            while Arc::strong_count(&turns) < 2 + 1 + 20 {
                std::thread::yield_now();
            }
            assert_eq!(count.load(Ordering::SeqCst), 0, "the one that runs may have missed what they did");
            release.send(()).expect("it waits");
            waiting.into_iter().for_each(|flushed| flushed.join().expect("no panic").expect("flushed"));
        });
        let count = count.load(Ordering::SeqCst);
        assert!((1..=2).contains(&count), "{count} flushes for 20 who waited at the same time");
    }

    #[test]
    fn a_flush_that_failed_is_told_to_those_who_waited_for_it() {
        let flushes = Flushes::default();
        let failing = |_: &Path| Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        let error = flushes.flush_by(Path::new("/x"), failing).expect_err("it failed");
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        flushes.flush_by(Path::new("/x"), |_| Ok(())).expect("the next one did not");
    }
}

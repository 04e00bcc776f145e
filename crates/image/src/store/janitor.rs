//! A thread for what no caller should wait for: removing what nobody needs any more, and bringing
//! the steps of builds to disk.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long steps of builds wait to be kept: most builds end before, and flush once for all of them.
const LATER: Duration = Duration::from_secs(5);

/// A task for the thread.
enum Task {
    Remove(PathBuf),
    KeepLater,
    /// To be called when what was given before is done.
    Tell(Box<dyn FnOnce() + Send>),
}

/// Does what it is given; ends, after finishing, when it is dropped.
#[derive(Debug)]
pub(crate) struct Janitor {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Starts it; `keep` brings to disk what is not there yet.
    pub(super) fn start(keep: impl Fn() + Send + 'static) -> std::io::Result<Self> {
        let (tasks, work) = channel::<Task>();
        let thread =
            std::thread::Builder::new().name("image-janitor".into()).spawn(move || work_off(&work, &keep))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// Removes `path`, a directory under `ingest/`, soon. What is left at the end of the process is
    /// removed when the store opens again.
    pub(crate) fn remove(&self, path: PathBuf) {
        self.send(Task::Remove(path));
    }

    /// Brings the steps of builds to disk, when there is time.
    pub(crate) fn keep_later(&self) {
        self.send(Task::KeepLater);
    }

    /// Calls `then` once everything is removed that was given to it until now.
    pub(super) fn tell(&self, then: impl FnOnce() + Send + 'static) {
        self.send(Task::Tell(Box::new(then)));
    }

    fn send(&self, task: Task) {
        if let Some(tasks) = &self.tasks {
            // The thread ends only with the sender, so this cannot fail while we are here.
            let _ = tasks.send(task);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work_off(work: &Receiver<Task>, keep: &dyn Fn()) {
    let mut to_keep = false;
    loop {
        let task = match to_keep {
            true => work.recv_timeout(LATER),
            false => work.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match task {
            Ok(Task::Remove(path)) => outlive(|| remove(&path)),
            Ok(Task::KeepLater) => to_keep = true,
            Ok(Task::Tell(then)) => outlive(then),
            Err(ended) => {
                if to_keep {
                    outlive(keep);
                    to_keep = false;
                }
                if ended == RecvTimeoutError::Disconnected {
                    return;
                }
            }
        }
    }
}

/// A task that panics must not be the last that is done.
fn outlive(task: impl FnOnce()) {
    if let Err(panic) = base::panics::catch(task) {
        tracing::error!(%panic, "tidying up the images panicked");
    }
}

fn remove(path: &Path) {
    if let Err(error) = base::tree::remove(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "unused files could not be removed");
    }
}

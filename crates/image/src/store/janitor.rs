//! A thread for what no caller should wait for: removing what nobody needs any more, and getting
//! unpacked files onto the disk soon after the image that needs them was recorded.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// A task for the thread.
#[derive(Debug)]
enum Task {
    Remove(PathBuf),
    Flush,
}

/// Does what it is given; ends, after finishing, when it is dropped.
#[derive(Debug)]
pub(crate) struct Janitor {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    pub(super) fn start(root: &Path) -> std::io::Result<Self> {
        let root = File::open(root)?;
        let (tasks, work) = channel::<Task>();
        let thread = std::thread::Builder::new().name("image-janitor".into()).spawn(move || {
            for task in work {
                // A task that panics must not be the last that is done.
                let done = base::panics::catch(|| match task {
                    Task::Remove(path) => remove(&path),
                    Task::Flush => {
                        if let Err(error) = rustix::fs::syncfs(&root) {
                            tracing::warn!(%error, "layers could not be flushed to the disk");
                        }
                    }
                });
                if let Err(panic) = done {
                    tracing::error!(%panic, "tidying up the images panicked");
                }
            }
        })?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// Removes `path`, a directory under `ingest/`, soon. What is left at the end of the process is
    /// removed when the store opens again.
    pub(crate) fn remove(&self, path: PathBuf) {
        self.send(Task::Remove(path));
    }

    /// Gets what was written onto the disk, soon.
    pub(crate) fn flush(&self) {
        self.send(Task::Flush);
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

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "unused files could not be removed");
    }
}

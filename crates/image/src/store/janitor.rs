//! A thread that removes directories nobody needs any more, so that no caller waits for it.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

/// Removes what it is given; ends, after finishing, when it is dropped.
#[derive(Debug)]
pub(crate) struct Janitor {
    paths: Option<Sender<PathBuf>>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    pub(super) fn start() -> std::io::Result<Self> {
        let (paths, work) = channel::<PathBuf>();
        let thread = std::thread::Builder::new().name("image-janitor".into()).spawn(move || {
            for path in work {
                if let Err(error) = fs::remove_dir_all(&path)
                    && error.kind() != std::io::ErrorKind::NotFound
                {
                    tracing::warn!(path = %path.display(), %error, "unused files could not be removed");
                }
            }
        })?;
        Ok(Self { paths: Some(paths), thread: Some(thread) })
    }

    /// Removes `path`, a directory under `ingest/`, soon. What is left at the end of the process is
    /// removed when the store opens again.
    pub(crate) fn remove(&self, path: PathBuf) {
        if let Some(paths) = &self.paths {
            // The thread ends only with the sender, so this cannot fail while we are here.
            let _ = paths.send(path);
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.paths = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

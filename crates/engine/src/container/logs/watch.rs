//! Hearing of what is written to logs: one watcher for all who follow one.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::engine::Engine;

/// How often those look who cannot be told.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Tells when something was written to the logs of a directory, or one was rotated.
pub(super) struct Watch {
    changes: Option<Changes>,
}

/// All that is watched, over one instance of inotify: a host has but 128 of those for each user.
#[derive(Default)]
pub(crate) struct Watcher {
    events: Mutex<Option<Arc<Events>>>,
}

struct Events {
    inotify: AsyncFd<OwnedFd>,
    /// None once nobody listens any more.
    directories: Mutex<Option<HashMap<i32, Directory>>>,
}

/// A directory that is followed by some.
struct Directory {
    sender: watch::Sender<()>,
    followers: usize,
}

/// One follower's side.
struct Changes {
    events: Arc<Events>,
    number: i32,
    receiver: watch::Receiver<()>,
}

impl Watch {
    /// Watches the directory of `path`: a rotation changes the file itself. A host that can watch no
    /// more directories does not keep a log from being followed: it is looked at from time to time.
    pub(super) fn new(engine: &Engine, path: &Path) -> Self {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let changes = engine.inner.log_watcher.events(engine).and_then(|events| events.watch(directory));
        let changes = changes.inspect_err(|error| {
            tracing::debug!(path = %path.display(), %error, "a log is followed without being watched");
        });
        Self { changes: changes.ok() }
    }

    /// Waits until something may have happened since the last call. Safe to drop.
    pub(super) async fn changed(&mut self) {
        let told = match &mut self.changes {
            Some(changes) => changes.receiver.changed().await.is_ok(),
            None => false,
        };
        if !told {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Watcher {
    fn events(&self, engine: &Engine) -> io::Result<Arc<Events>> {
        let mut known = self.events.lock();
        if let Some(events) = &*known {
            return Ok(Arc::clone(events));
        }
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, and an owned descriptor keeps what that asks for"
        )]
        let inotify = AsyncFd::new(inotify)?;
        let events = Arc::new(Events { inotify, directories: Mutex::new(Some(HashMap::new())) });
        let (listening, closing) = (Arc::clone(&events), engine.inner.closing.clone());
        engine.spawn(async move {
            tokio::select! {
                ended = base::panics::catch_async(listening.listen()) => {
                    let error = ended.unwrap_or_else(std::io::Error::other);
                    tracing::warn!(%error, "logs are not watched any more, but looked at");
                    // Whoever waits is told that nobody will tell.
                    listening.directories.lock().take();
                }
                () = closing.cancelled() => {}
            }
        });
        *known = Some(Arc::clone(&events));
        Ok(events)
    }
}

impl Events {
    fn watch(self: Arc<Self>, directory: &Path) -> io::Result<Changes> {
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        // Under the lock: the last follower of the directory may just be leaving.
        let mut guard = self.directories.lock();
        let directories = guard.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let number = inotify::add_watch(&self.inotify, directory, what)?;
        let entry = directories
            .entry(number)
            .or_insert_with(|| Directory { sender: watch::Sender::new(()), followers: 0 });
        entry.followers += 1;
        let receiver = entry.sender.subscribe();
        drop(guard);
        Ok(Changes { events: self, number, receiver })
    }

    /// Passes on what happens; gives why that is not possible any more.
    async fn listen(&self) -> io::Error {
        loop {
            let mut guard = match self.inotify.readable().await {
                Ok(guard) => guard,
                Err(error) => return error,
            };
            let mut buffer = [const { MaybeUninit::uninit() }; 4096];
            let mut reader = inotify::Reader::new(guard.get_inner(), &mut buffer);
            loop {
                match reader.next() {
                    // What exactly happened does not matter.
                    Ok(event) => self.tell(event.wd()),
                    Err(rustix::io::Errno::AGAIN) => break,
                    Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return error.into(),
                }
            }
            guard.clear_ready();
        }
    }

    fn tell(&self, number: i32) {
        let guard = self.directories.lock();
        let Some(directories) = &*guard else { return };
        match directories.get(&number) {
            Some(directory) => directory.sender.send_replace(()),
            // There was too much to tell all of it.
            None if number < 0 => {
                directories.values().for_each(|directory| directory.sender.send_replace(()))
            }
            None => {}
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let mut guard = self.events.directories.lock();
        let Some(directories) = guard.as_mut() else { return };
        let Some(directory) = directories.get_mut(&self.number) else { return };
        directory.followers -= 1;
        if directory.followers == 0 {
            directories.remove(&self.number);
            // Fails where the directory has gone, and its watch with it.
            let _ = inotify::remove_watch(&self.events.inotify, self.number);
        }
    }
}

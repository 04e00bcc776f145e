//! Waiting for a log to grow, until the container has ended.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use futures::Stream;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::read::Reader;
use super::{LogLine, LogQuery};
use crate::container::Status;
use crate::engine::blocking;
use crate::error::{Context, Error, Result};
use crate::registry::Pulse;

/// Tells when something was written to a log or it was rotated.
pub(super) struct Watch {
    events: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches the directory of `path`: a rotation changes the file itself.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let tried = || format!("watch `{}`", path.display());
        let directory = path.parent().unwrap_or(Path::new("/"));
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).context(tried)?;
        let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&events, directory, what).context(tried)?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe, and an owned descriptor keeps what that asks for"
        )]
        let events = AsyncFd::new(events).context(tried)?;
        Ok(Self { events })
    }

    /// Waits until something has happened since the last call. Safe to drop.
    async fn changed(&mut self) -> std::io::Result<()> {
        let mut guard = self.events.readable_mut().await?;
        let mut buffer = [const { MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(guard.get_inner_mut(), &mut buffer);
        // What exactly happened does not matter.
        while reader.next().is_ok() {}
        guard.clear_ready();
        Ok(())
    }
}

struct Following {
    reader: Option<Reader>,
    watch: Watch,
    pulse: watch::Receiver<Pulse>,
    query: Arc<LogQuery>,
    closing: CancellationToken,
    ready: VecDeque<LogLine>,
    /// The container had ended before the last look, which therefore saw everything.
    over: bool,
}

/// Lines as they come, until the container has ended and all it wrote is told.
pub(super) fn stream(
    reader: Reader,
    watch: Watch,
    pulse: watch::Receiver<Pulse>,
    query: LogQuery,
    closing: CancellationToken,
) -> impl Stream<Item = Result<LogLine>> + Send {
    let following = Following {
        reader: Some(reader),
        watch,
        pulse,
        query: Arc::new(query),
        closing,
        ready: VecDeque::new(),
        over: false,
    };
    futures::stream::unfold(Some(following), |following| async {
        let mut following = following?;
        match following.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(following))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Following {
    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                if self.query.until.is_some_and(|until| line.at > until) {
                    return Ok(None);
                }
                if self.query.admits(&line) {
                    return Ok(Some(line));
                }
                continue;
            }
            if self.over {
                return Ok(None);
            }
            let ended = {
                let pulse = self.pulse.borrow_and_update();
                pulse.removed || matches!(pulse.status, Status::Exited | Status::Dead | Status::Removing)
            };
            self.read().await?;
            self.over = ended;
            if self.ready.is_empty() && !ended {
                tokio::select! {
                    changed = self.watch.changed() => changed.context(|| "watch a log".to_owned())?,
                    told = self.pulse.changed() => self.over = told.is_err(),
                    () = self.closing.cancelled() => return Ok(None),
                }
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let mut reader = self.reader.take().ok_or_else(|| Error::internal("a log is being read already"))?;
        let (reader, lines) = blocking(move || {
            let mut lines = VecDeque::new();
            reader.read_on(|line| lines.push_back(line))?;
            Ok((reader, lines))
        })
        .await?;
        self.reader = Some(reader);
        self.ready.extend(lines);
        Ok(())
    }
}

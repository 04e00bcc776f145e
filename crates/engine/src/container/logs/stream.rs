//! Log lines as a stream, read a batch at a time when they are asked for.

use std::sync::Arc;
use std::vec;

use futures::Stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::read::{Reader, Then};
use super::watch::Watch;
use super::{LogLine, LogQuery};
use crate::container::Status;
use crate::error::{Error, Result};
use crate::registry::Pulse;
use crate::work::blocking;

/// What a reader who follows waits for.
pub(super) struct Follow {
    pub(super) watch: Watch,
    pub(super) pulse: watch::Receiver<Pulse>,
    pub(super) closing: CancellationToken,
    /// The container is not known any more.
    pub(super) gone: bool,
}

struct Lines {
    /// Away while it reads.
    reader: Option<Reader>,
    query: Arc<LogQuery>,
    follow: Option<Follow>,
    ready: vec::IntoIter<LogLine>,
    over: bool,
}

/// The lines that `reader` finds, and with `follow` those that come until the container has ended
/// and all it wrote is told. Nothing is read ahead of who takes the lines, a batch aside.
pub(super) fn stream(
    reader: Reader,
    query: LogQuery,
    follow: Option<Follow>,
) -> impl Stream<Item = Result<LogLine>> + Send {
    let lines = Lines {
        reader: Some(reader),
        query: Arc::new(query),
        follow,
        ready: Vec::new().into_iter(),
        over: false,
    };
    futures::stream::unfold(Some(lines), |lines| async {
        let mut lines = lines?;
        match lines.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(lines))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

impl Lines {
    async fn next(&mut self) -> Result<Option<LogLine>> {
        loop {
            if let Some(line) = self.ready.next() {
                return Ok(Some(line));
            }
            if self.over {
                return Ok(None);
            }
            // Looked at before reading, which therefore sees all that was written.
            let ended = self.follow.as_mut().is_none_or(Follow::has_ended);
            match self.read().await? {
                Then::More => {}
                Then::Wait if ended => self.over = true,
                Then::Wait => {
                    if let Some(follow) = self.follow.as_mut().filter(|_| self.ready.len() == 0) {
                        self.over = !follow.wait().await;
                    }
                }
                Then::End => self.over = true,
            }
        }
    }

    async fn read(&mut self) -> Result<Then> {
        let mut reader = self.reader.take().ok_or_else(|| Error::internal("a log is being read already"))?;
        let query = Arc::clone(&self.query);
        let (reader, batch) = blocking(move || {
            let batch = reader.batch(&query)?;
            Ok((reader, batch))
        })
        .await?;
        self.reader = Some(reader);
        self.ready = batch.lines.into_iter();
        Ok(batch.then)
    }
}

impl Follow {
    /// Whether the container will write no more.
    fn has_ended(&mut self) -> bool {
        let pulse = self.pulse.borrow_and_update();
        self.gone || pulse.removed || matches!(pulse.status, Status::Exited | Status::Dead | Status::Removing)
    }

    /// Waits until there may be more; `false` when the engine closes.
    async fn wait(&mut self) -> bool {
        tokio::select! {
            () = self.watch.changed() => true,
            told = self.pulse.changed() => {
                // Where nobody tells any more the container is gone, and the next look the last.
                self.gone |= told.is_err();
                true
            }
            () = self.closing.cancelled() => false,
        }
    }
}

//! Reading a container's log.

mod files;
mod line;
mod read;
mod stream;
mod tail;
mod watch;

use std::pin::Pin;

use base::Timestamp;
use bytes::Bytes;
use futures::Stream;

use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::id::ContainerId;
use crate::stream::OutputKind;
use crate::work::blocking;

use files::Files;
use read::Reader;
use stream::Follow;
use watch::Watch;
pub(crate) use watch::Watcher;

/// Which lines to read.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// Those of standard output.
    pub stdout: bool,
    /// Those of standard error.
    pub stderr: bool,
    /// Not older.
    pub since: Option<Timestamp>,
    /// Not newer.
    pub until: Option<Timestamp>,
    /// So many of the last at most.
    pub tail: Option<usize>,
    /// Goes on with lines as they come, until the container has ended.
    pub follow: bool,
}

/// One piece of output as it was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it was written.
    pub at: Timestamp,
    /// By which output.
    pub stream: OutputKind,
    /// The text with its line end, which a part of a long line (or a last line without one) lacks.
    pub text: Bytes,
}

/// Log lines in order.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogLine>> + Send>>;

impl Engine {
    /// The log of a container. Lines are read as they are taken: a slow reader holds some of them, not
    /// the log. What is still on disk is not missed, however often the log is rotated meanwhile.
    pub async fn container_logs(&self, id: &ContainerId, query: LogQuery) -> Result<LogStream> {
        let cell = self.inner.registry.get(id)?;
        let record = cell.record();
        if !record.resolved.log.is_kept() {
            return Err(Error::new(Kind::Unsupported, "configured logging driver does not support reading"));
        }
        if !query.follow {
            self.settled(&cell).await;
        }
        let path = self.inner.places.log(&record);
        // Begun before the state is looked at: an end that comes between is seen as one.
        let follow = query.follow.then(|| Follow {
            watch: Watch::new(self, &path),
            pulse: cell.pulse(),
            closing: self.inner.closing.clone(),
            gone: false,
        });
        let wanted = query.clone();
        let reader = blocking(move || Reader::open(Files::new(path), &wanted)).await?;
        Ok(Box::pin(stream::stream(reader, query, follow)))
    }
}

//! Reading a container's log.

use std::pin::Pin;

use base::Timestamp;
use bytes::Bytes;
use futures::Stream;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::OutputKind;

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
    /// The log of a container.
    pub async fn container_logs(&self, id: &ContainerId, query: LogQuery) -> Result<LogStream> {
        let _ = (id, query);
        todo!()
    }
}

//! Streams of processes, and logs.

use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{Answer, Error};

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// Standard output, and everything that a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A command that is to be run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Gives it a terminal.
    pub tty: bool,
    /// Its standard input is open.
    pub stdin: bool,
    /// Its standard output is wanted.
    pub stdout: bool,
    /// Its standard error is wanted.
    pub stderr: bool,
}

/// What a command that ran to its end left.
#[derive(Clone, Debug)]
pub struct ExecOutput {
    /// Its exit code; `None` where it took too long and was killed.
    pub exit_code: Option<i32>,
    /// What it wrote to standard output, as much as was asked for.
    pub stdout: Bytes,
    /// What it wrote to standard error, as much as was asked for.
    pub stderr: Bytes,
}

/// A process's streams. Dropping everything detaches: the process goes on.
pub struct Attached {
    /// What the end of a client's input means.
    pub at_end: EndOfInput,
    /// What goes towards the process.
    pub input: Arc<dyn ProcessInput>,
    /// What it writes, in order; ends when both outputs have ended.
    pub output: BoxStream<'static, Result<(OutputKind, Bytes), Error>>,
    /// Its exit code, once it has ended.
    pub exit: BoxFuture<'static, Result<i32, Error>>,
}

/// What the end of a client's input means to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOfInput {
    /// It is the process's too: its standard input is closed, and its outputs go on.
    Closes,
    /// The client leaves; the next one's input goes on from there.
    Leaves,
}

/// What goes towards a process.
pub trait ProcessInput: Send + Sync {
    /// Writes to its standard input, waiting while it does not read. Fails once it has ended.
    fn write(&self, bytes: Bytes) -> Answer<'_, ()>;

    /// Closes its standard input; its outputs go on.
    fn close(&self) -> Answer<'_, ()>;

    /// Sets the size of its terminal, if it has one.
    fn resize(&self, size: TerminalSize) -> Answer<'_, ()>;
}

/// Which lines of a log to read.
#[derive(Clone, Debug, Default)]
pub struct LogQuery {
    /// One output alone.
    pub stream: Option<OutputKind>,
    /// Not older.
    pub since: Option<Timestamp>,
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
    /// The text with its line end, which a part of a long line (or a last line without one) lacks.
    pub text: Bytes,
}

/// Log lines in order.
pub type LogLines = BoxStream<'static, Result<LogLine, Error>>;

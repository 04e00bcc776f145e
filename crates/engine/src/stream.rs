//! A process's streams as the engine hands them to fronts.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::{mpsc, oneshot};

use crate::error::{Error, Result};

pub use net::unread;

/// Bytes on their way, in pieces.
pub type ByteStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Which of a process's two outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExitStatus {
    /// The exit code; 128 + signal for a process that was killed by one.
    pub code: i32,
    /// Why it could not even start, or was lost, where that is so.
    pub error: Option<String>,
}

/// A process's streams, taken apart so that each can be moved to its own task.
///
/// Dropping everything detaches: the process goes on.
pub struct Attached {
    /// Writes to the process's standard input (accepts and discards where it has none).
    pub input: Input,
    /// What the process writes.
    pub output: Output,
    /// Changes the terminal's size.
    pub resize: Resizer,
    /// Resolves when the process has ended.
    pub exit: Exit,
}

/// The writing end of a process's standard input; cheap to clone.
#[derive(Clone)]
pub struct Input {
    pub(crate) frames: mpsc::Sender<InputFrame>,
}

/// What a process writes, in order: a stream of pieces that ends when both outputs have ended.
pub struct Output {
    pub(crate) pieces: mpsc::Receiver<Result<(OutputKind, Bytes)>>,
}

/// Changes the size of a process's terminal; cheap to clone.
#[derive(Clone)]
pub struct Resizer {
    pub(crate) frames: mpsc::Sender<InputFrame>,
}

/// A future of a process's end.
pub struct Exit {
    pub(crate) status: oneshot::Receiver<ExitStatus>,
}

/// What goes towards a process.
#[derive(Debug)]
pub(crate) enum InputFrame {
    Bytes(Bytes),
    Close,
    Resize(TerminalSize),
}

impl Input {
    /// Writes `bytes`, waiting while the process does not read. Fails once the process has ended.
    pub async fn write(&self, bytes: Bytes) -> Result<()> {
        self.send(InputFrame::Bytes(bytes)).await
    }

    /// Closes the standard input: the process reads end of file, its outputs go on.
    pub async fn close(&self) -> Result<()> {
        self.send(InputFrame::Close).await
    }

    async fn send(&self, frame: InputFrame) -> Result<()> {
        self.frames.send(frame).await.map_err(|_| Error::conflict("the process has ended"))
    }
}

impl Output {
    /// The next piece; `None` when both outputs have ended.
    pub async fn next(&mut self) -> Option<Result<(OutputKind, Bytes)>> {
        self.pieces.recv().await
    }
}

impl Stream for Output {
    type Item = Result<(OutputKind, Bytes)>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_recv(context)
    }
}

impl Resizer {
    /// Sets the size; nothing happens where the process has no terminal.
    pub async fn resize(&self, size: TerminalSize) -> Result<()> {
        self.frames.send(InputFrame::Resize(size)).await.map_err(|_| Error::conflict("the process has ended"))
    }
}

impl Future for Exit {
    type Output = Result<ExitStatus>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.status)
            .poll(context)
            .map(|status| status.map_err(|_| Error::unavailable("the connection to the process was lost")))
    }
}

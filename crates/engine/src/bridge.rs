//! Between streams of bytes and code that reads and writes where it may block.

use std::io::{self, Read, Write};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;

use crate::engine::Engine;
use crate::stream::ByteStream;
use crate::threads::Transfer;

/// Pieces that may wait between a writer and whoever reads.
const QUEUE: usize = 8;
/// The size of a piece.
const PIECE: usize = 64 << 10;
/// How long a client may send or take nothing at all; it holds a thread meanwhile.
const IDLE: Duration = Duration::from_secs(15 * 60);

/// Reads a stream from a thread that may block.
pub(crate) struct BlockingReader {
    stream: ByteStream,
    runtime: Handle,
    piece: Bytes,
}

impl BlockingReader {
    /// To be made where the runtime is known, and read on a blocking thread.
    pub(crate) fn new(stream: ByteStream) -> Self {
        Self { stream, runtime: Handle::current(), piece: Bytes::new() }
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let next = self.runtime.block_on(async { tokio::time::timeout(IDLE, self.stream.next()).await });
            match next.map_err(|_| idle("sent"))? {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

/// Writes into a channel from a thread that may block.
struct ChannelWriter {
    runtime: Handle,
    pieces: mpsc::Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

impl ChannelWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE)));
        // The reader went away: there is nobody to write for.
        match self.runtime.block_on(self.pieces.send_timeout(Ok(piece), IDLE)) {
            Ok(()) => Ok(()),
            Err(SendTimeoutError::Timeout(_)) => Err(idle("taken")),
            Err(SendTimeoutError::Closed(_)) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for ChannelWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

fn idle(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the client has {what} nothing for {} seconds", IDLE.as_secs()),
    )
}

impl Engine {
    /// What `write` writes, as a stream. `write` runs on a thread of `transfer`, and ends with an error
    /// when nobody reads any more. Its own error is the stream's last item.
    pub(crate) fn stream_from(
        &self,
        transfer: Transfer,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> ByteStream {
        let (pieces, receiver) = mpsc::channel(QUEUE);
        let runtime = self.inner.runtime.clone();
        let writing = move || {
            let _transfer = transfer;
            let mut writer = ChannelWriter { runtime, pieces, buffer: Vec::with_capacity(PIECE) };
            if let Err(error) = write(&mut writer).and_then(|()| writer.flush()) {
                let _ = writer.runtime.block_on(writer.pieces.send_timeout(Err(error), IDLE));
            }
        };
        self.inner.tasks.spawn_blocking_on(writing, &self.inner.runtime);
        Box::pin(receive(receiver))
    }
}

/// A channel's receiving end as a stream.
pub(crate) fn receive<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

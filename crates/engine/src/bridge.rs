//! Between streams of bytes and code that reads and writes where it may block.

use std::io::{self, Read, Write};
use std::time::Duration;

use base::pace::Pace;
use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::stream::ByteStream;
use crate::work::Transfer;

/// Pieces that may wait between a writer and whoever reads.
const QUEUE: usize = 8;
/// The size of a piece.
const PIECE: usize = 64 << 10;
/// How long a client may send nothing, or next to nothing: whoever is asked for a passphrase or waits
/// for a tape needs minutes, and it holds a thread meanwhile.
const SILENCE: Duration = Duration::from_secs(5 * 60);
/// How long a client may take nothing, or next to nothing: somebody may be reading.
const REST: Duration = Duration::from_secs(15 * 60);

/// Reads from a thread what a client sends.
pub struct Upload {
    sent: ByteStream,
    /// Ends the reading: nobody waits for what would come of it.
    given_up: CancellationToken,
    runtime: Handle,
    piece: Bytes,
    pace: Pace,
}

impl Upload {
    /// To be made where the runtime is known, and read on a thread that may block.
    pub(crate) fn new(sent: ByteStream, given_up: CancellationToken) -> Self {
        let pace = Pace::new(SILENCE);
        Self { sent, given_up, runtime: Handle::current(), piece: Bytes::new(), pace }
    }

    fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Self { sent, given_up, runtime, pace, .. } = self;
        runtime.block_on(async {
            let began = Instant::now();
            let next = tokio::select! {
                next = tokio::time::timeout(pace.left(), sent.next()) => next,
                () = given_up.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
            };
            let piece = next.map_err(|_| silent("sent", SILENCE))?.transpose()?;
            pace.passed(began.elapsed(), piece.as_ref().map_or(0, Bytes::len));
            Ok(piece)
        })
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.next()? {
                Some(piece) => self.piece = piece,
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
    pace: Pace,
}

impl ChannelWriter {
    fn send(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(PIECE)));
        let (began, size) = (Instant::now(), piece.len());
        match self.runtime.block_on(self.pieces.send_timeout(Ok(piece), self.pace.left())) {
            Ok(()) => {
                self.pace.passed(began.elapsed(), size);
                Ok(())
            }
            Err(SendTimeoutError::Timeout(_)) => Err(silent("taken", REST)),
            // The reader went away: there is nobody to write for.
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

fn silent(what: &str, limit: Duration) -> io::Error {
    let limit = limit.as_secs() / 60;
    io::Error::new(
        io::ErrorKind::TimedOut,
        format!("the client has {what} nothing, or next to nothing, for {limit} minutes"),
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
            let pace = Pace::new(REST);
            let mut writer = ChannelWriter { runtime, pieces, buffer: Vec::with_capacity(PIECE), pace };
            if let Err(error) = write(&mut writer).and_then(|()| writer.flush()) {
                let _ = writer.runtime.block_on(writer.pieces.send_timeout(Err(error), writer.pace.left()));
            }
        };
        self.inner.tasks.spawn_on(transfer.run(writing), &self.inner.runtime);
        Box::pin(receive(receiver))
    }
}

/// A channel's receiving end as a stream.
pub(crate) fn receive<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send {
    tokio_stream::wrappers::ReceiverStream::new(receiver)
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    /// Reads all that `sent` gives while time passes; the clock stands between its steps.
    async fn read(sent: ByteStream, given_up: CancellationToken) -> io::Result<usize> {
        let mut upload = Upload::new(sent, given_up);
        let thread = std::thread::spawn(move || io::copy(&mut upload, &mut io::sink()));
        while !thread.is_finished() {
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        thread.join().expect("no panic").map(|count| count as usize)
    }

    /// `count` pieces of `size` bytes, each after a rest.
    fn pieces(count: usize, size: usize, rest: Duration) -> ByteStream {
        Box::pin(stream::iter(0..count).then(move |_| async move {
            tokio::time::sleep(rest).await;
            Ok(Bytes::from(vec![0; size]))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_rests_may_go_on() {
        let sent = pieces(5, 1 << 20, SILENCE * 3 / 4);
        assert_eq!(read(sent, CancellationToken::new()).await.expect("all of it"), 5 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_or_as_good_as_that_is_given_up() {
        let silent: ByteStream = Box::pin(stream::pending());
        for sent in [silent, pieces(1000, 1, Duration::from_secs(60))] {
            let error = read(sent, CancellationToken::new()).await.expect_err("it is given up");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
            assert!(error.to_string().contains("next to nothing, for 5 minutes"), "{error}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_read_no_further() {
        let given_up = CancellationToken::new();
        given_up.cancel();
        let error = read(Box::pin(stream::pending()), given_up).await.expect_err("nobody waits");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}

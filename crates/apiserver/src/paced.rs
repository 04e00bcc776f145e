//! A connection that is not read from while its client does not read.
//!
//! Whoever sends requests and takes no answers would otherwise have them answered into memory, without
//! an end. A connection that has become a stream of its own (exec, a forwarded port) is left alone: its two
//! directions have nothing to do with each other, and its buffers are bounded where it is served.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::connections::{STALLED, Seat};

/// See the module.
pub(crate) struct Paced<S> {
    stream: S,
    seat: Arc<Seat>,
    /// Since when the client takes nothing, and when that has been too long.
    blocked: Option<Pin<Box<Sleep>>>,
    /// Whoever waits to read meanwhile.
    reader: Option<Waker>,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, seat: Arc<Seat>) -> Self {
        Self { stream, seat, blocked: None, reader: None }
    }

    fn note<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return written;
        }
        if self.seat.is_patient() {
            return written;
        }
        let end = || Box::pin(tokio::time::sleep_until(Instant::now() + STALLED));
        match self.blocked.get_or_insert_with(end).as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.blocked.is_some() && !self.seat.is_patient() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.note(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.note(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::connections::Connections;

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_is_not_read_from_and_ends() {
        for taken_over in [false, true] {
            let (mut client, server) = tokio::io::duplex(64);
            let seat = Arc::new(Connections::new(1)).enter();
            if taken_over {
                seat.take_over();
            }
            let (mut reader, mut writer) = tokio::io::split(Paced::new(server, seat));
            let writing =
                tokio::spawn(async move { writer.write_all(&[7; 100]).await.map_err(|e| e.kind()) });
            tokio::task::yield_now().await;
            client.write_all(b"x").await.expect("write");
            let mut byte = [0];
            let read = tokio::time::timeout(STALLED / 2, reader.read(&mut byte)).await;
            assert_eq!(read.is_ok(), taken_over);
            let ended = tokio::time::timeout(STALLED, writing).await;
            assert_eq!(ended.is_err(), taken_over);
            if let Ok(written) = ended {
                assert_eq!(written.expect("no panic"), Err(io::ErrorKind::TimedOut));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_reads_again_is_read_from_again() {
        let (mut client, server) = tokio::io::duplex(64);
        let seat = Arc::new(Connections::new(1)).enter();
        let (mut reader, mut writer) = tokio::io::split(Paced::new(server, seat));
        let writing = tokio::spawn(async move { writer.write_all(&[7; 100]).await.map_err(|e| e.kind()) });
        tokio::task::yield_now().await;
        client.write_all(b"x").await.expect("write");
        let reading = tokio::spawn(async move { reader.read_u8().await.map_err(|e| e.kind()) });
        tokio::time::sleep(STALLED / 2).await;
        client.read_exact(&mut [0; 100]).await.expect("read");
        assert_eq!(writing.await.expect("no panic"), Ok(()));
        assert_eq!(reading.await.expect("no panic"), Ok(b'x'));
    }
}

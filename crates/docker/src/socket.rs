//! A client's connection: over the Unix socket, or over TCP, with or without TLS.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buildkit::Owner;
use engine::stream::unread;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How long what a session begins with waits for the head of its answer to be read.
///
/// Clients that read the head through a buffer lose what came with it. Docker's own daemon does nothing against
/// that; it is slow enough that it hardly ever happens there.
const HEAD: Duration = Duration::from_millis(50);
/// How often a TCP connection is asked whether the head has arrived, and how long its reader is given then:
/// nobody tells when it was read.
const ASK: Duration = Duration::from_millis(1);
const READ: Duration = Duration::from_millis(5);

/// A client's connection.
pub(crate) struct Socket {
    io: Io,
    last_words: Arc<AtomicBool>,
}

enum Io {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self::over(Io::Unix(stream))
    }

    pub(crate) fn tcp(stream: TcpStream) -> Self {
        Self::over(Io::Tcp(stream))
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::over(Io::Tls(Box::new(stream)))
    }

    fn over(io: Io) -> Self {
        Self { io, last_words: Arc::default() }
    }

    /// Whether its client is known by nothing but that it reached a loopback address.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.io, Io::Tcp(_))
    }

    /// Whose it is, as far as one connection tells: all of one user's over the Unix socket have the same owner,
    /// and all of one certificate's.
    pub(crate) fn owner(&self) -> Owner {
        match &self.io {
            Io::Unix(stream) => match sockopt::socket_peercred(stream) {
                Ok(peer) => Owner::of(format!("user {}", peer.uid.as_raw())),
                Err(_) => Owner::of("users"),
            },
            Io::Tcp(_) => Owner::of("this host"),
            Io::Tls(stream) => {
                let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let certificate = certificates.first().map(|certificate| STANDARD.encode(certificate));
                Owner::of(format!("certificate {}", certificate.unwrap_or_default()))
            }
        }
    }

    /// Returns when the client has read all that was sent to it, or has had the time to.
    pub(crate) async fn read_by_client(&self) {
        let read = async {
            match &self.io {
                Io::Unix(stream) => read_from(stream).await,
                Io::Tcp(stream) => arrived(stream).await,
                Io::Tls(stream) => arrived(stream.get_ref().0).await,
            }
        };
        let _ = tokio::time::timeout(HEAD, read).await;
    }

    /// Set where the connection is asked for: that its client does not read any more is then no reason not to read
    /// what it has sent, and what is written goes nowhere.
    pub(crate) fn last_words(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.last_words)
    }

    /// What came of writing `length` bytes.
    fn written(&self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if error.kind() == io::ErrorKind::BrokenPipe && self.last_words.load(Ordering::Relaxed) =>
            {
                Poll::Ready(Ok(length))
            }
            other => other,
        }
    }

    fn io(&mut self) -> Pin<&mut dyn Both> {
        match &mut self.io {
            Io::Unix(stream) => Pin::new(stream),
            Io::Tcp(stream) => Pin::new(stream),
            Io::Tls(stream) => Pin::new(stream.as_mut()),
        }
    }
}

/// Returns when all that was written to `stream` was read: the kernel tells each time that a piece was.
async fn read_from(stream: &UnixStream) {
    let is_read = || match unread(stream.as_fd()) {
        Ok(2..) => Err(io::ErrorKind::WouldBlock.into()),
        other => other.map(drop),
    };
    while stream.writable().await.is_ok() {
        match stream.try_io(Interest::WRITABLE, is_read) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// Returns a little after all that was written to `stream` has arrived.
async fn arrived(stream: &TcpStream) {
    while let Ok(1..) = unread(stream.as_fd()) {
        tokio::time::sleep(ASK).await;
    }
    tokio::time::sleep(READ).await;
}

/// Both directions.
trait Both: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.io {
            Io::Unix(stream) => stream.as_fd(),
            Io::Tcp(stream) => stream.as_fd(),
            Io::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io().poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.io().poll_write(context, bytes);
        self.written(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io().poll_write_vectored(context, pieces);
        self.written(written, pieces.iter().map(|piece| piece.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Unix(stream) => stream.is_write_vectored(),
            Io::Tcp(stream) => stream.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_head_is_waited_for_until_its_client_has_read_it() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.write_all(b"HTTP/1.1 101 UPGRADED\r\n\r\n").await.expect("write");
        let read = read_from(&ours);
        tokio::pin!(read);
        assert!(poll!(&mut read).is_pending(), "nobody has read it");
        theirs.read_exact(&mut [0; 10]).await.expect("read a part");
        assert!(poll!(&mut read).is_pending(), "it was not read to its end");
        theirs.read_exact(&mut [0; 15]).await.expect("read the rest");
        read.await;
        // Who went without reading is waited for by nobody.
        let (mut ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.write_all(b"HTTP/1.1 101 UPGRADED\r\n\r\n").await.expect("write");
        drop(theirs);
        read_from(&ours).await;
    }

    #[tokio::test]
    async fn one_who_does_not_read_is_waited_for_a_bounded_time() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair of sockets");
        let mut socket = Socket::unix(ours);
        socket.write_all(b"HTTP/1.1 101 UPGRADED\r\n\r\n").await.expect("write");
        let begun = tokio::time::Instant::now();
        socket.read_by_client().await;
        assert!(begun.elapsed() >= HEAD, "{:?}", begun.elapsed());
    }
}

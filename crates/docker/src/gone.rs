//! Noticing that a client has gone.
//!
//! A client may be done with sending and still read: that its input has ended says nothing. Only the
//! socket itself tells when both sides are closed, whether the client closed it, was killed, or broke off.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};

/// Resolves when nobody is at the other end of `socket` any more.
pub(crate) async fn of_socket(socket: io::Result<impl AsFd + AsRawFd>) {
    if let Err(error) = watch(socket).await {
        // The session then ends with its process, or when something is written.
        tracing::debug!(%error, "a client is not watched");
        pending::<()>().await;
    }
}

/// Resolves when the other end of a pipe that carries nothing towards us was dropped.
pub(crate) async fn of_pipe(mut pipe: impl AsyncRead + Unpin) {
    let mut nothing = [0; 64];
    while matches!(pipe.read(&mut nothing).await, Ok(1..)) {}
}

/// Takes what the other end of `socket` still sends, until it ends.
pub(crate) async fn drain(socket: Arc<OwnedFd>) {
    #[expect(
        deprecated,
        reason = "its replacement is unsafe, and an owned descriptor keeps what that asks for"
    )]
    let Ok(socket) = AsyncFd::with_interest(socket, Interest::READABLE) else { return };
    let mut piece = [0; 4096];
    while let Ok(mut ready) = socket.readable().await {
        let taken = ready.try_io(|socket| Ok(recv(socket.get_ref(), &mut piece, RecvFlags::DONTWAIT)?.1));
        match taken {
            Ok(Ok(1..)) | Err(_) => {}
            Ok(_) => return,
        }
    }
}

async fn watch(socket: io::Result<impl AsFd + AsRawFd>) -> io::Result<()> {
    // Priority data is what no such socket has: what is told beside it is that both sides are closed.
    #[expect(
        deprecated,
        reason = "its replacement is unsafe, and an owned descriptor keeps what that asks for"
    )]
    let socket = AsyncFd::with_interest(socket?, Interest::PRIORITY)?;
    loop {
        let mut ready = socket.ready(Interest::PRIORITY).await?;
        if is_closed(socket.get_ref())? {
            return Ok(());
        }
        ready.clear_ready();
    }
}

fn is_closed(socket: &impl AsFd) -> io::Result<bool> {
    let mut asked = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty())];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_client_that_only_stops_sending_has_not_gone() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let gone = of_socket(ours.as_fd().try_clone_to_owned());
        tokio::pin!(gone);
        theirs.write_all(b"and unread input").await.expect("write");
        theirs.shutdown().await.expect("stop sending");
        assert!(timeout(Duration::from_millis(50), &mut gone).await.is_err(), "it still reads");
        drop(theirs);
        timeout(Duration::from_secs(10), gone).await.expect("it has gone");
    }

    #[tokio::test]
    async fn what_is_sent_beside_an_answer_is_taken_so_that_it_is_read() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let once_more = Arc::new(ours.as_fd().try_clone_to_owned().expect("once more"));
        ours.write_all(b"refused").await.expect("write");
        ours.shutdown().await.expect("that is all");
        drop(ours);
        let client = async {
            theirs.write_all(&vec![0; 4 << 20]).await.expect("all is taken");
            let mut answer = String::new();
            theirs.read_to_string(&mut answer).await.expect("read");
            drop(theirs);
            answer
        };
        let (answer, ()) = tokio::join!(client, drain(once_more));
        assert_eq!(answer, "refused");
    }

    #[tokio::test]
    async fn a_pipe_s_end_is_noticed() {
        let (ours, theirs) = tokio::io::duplex(16);
        drop(theirs);
        of_pipe(ours).await;
    }
}

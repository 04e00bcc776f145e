//! Noticing that a client has gone.
//!
//! A client may be done with sending and still read: that its input has ended says nothing. Only the
//! socket itself tells when both sides are closed, whether the client closed it, was killed, or broke off.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, Interest};

/// Resolves when nobody is at the other end of `socket` any more.
pub(crate) async fn of_socket(socket: io::Result<OwnedFd>) {
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

async fn watch(socket: io::Result<OwnedFd>) -> io::Result<()> {
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

fn is_closed(socket: &OwnedFd) -> io::Result<bool> {
    let mut asked = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::empty())];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    Ok(asked[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
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
    async fn a_pipe_s_end_is_noticed() {
        let (ours, theirs) = tokio::io::duplex(16);
        drop(theirs);
        of_pipe(ours).await;
    }
}

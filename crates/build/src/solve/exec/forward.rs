//! Sockets in a command's file system that lead to agents of the client's.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use llb::pb::SshOpt;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use tokio::net::UnixListener;
use tokio_util::task::AbortOnDropHandle;

use crate::solve::SolveError;
use crate::solve::session::{Session, answered};

/// Connections of one command to one agent at a time.
const CONNECTIONS_MAX: usize = 32;

/// So long nothing is accepted after that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A socket; nobody answers it any more when this is dropped.
pub(crate) struct Forward {
    _task: AbortOnDropHandle<()>,
}

/// Makes a socket in `place`, which is the solver's own; gives its path.
pub(crate) fn forward(
    session: &Arc<dyn Session>,
    option: &SshOpt,
    place: &Path,
) -> Result<(PathBuf, Forward), SolveError> {
    let failed = |error| SolveError::io("make a socket for an agent of the client's")(error);
    let id = if option.id.is_empty() { "default".to_owned() } else { option.id.clone() };
    let (listener, path) = offload::in_place(|| listen(option, place)).map_err(failed)?;
    let session = Arc::clone(session);
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            while connections.len() >= CONNECTIONS_MAX {
                connections.join_next().await;
            }
            let (mut socket, _) = accepted(|| listener.accept()).await;
            let (session, id) = (Arc::clone(&session), id.clone());
            connections.spawn(async move {
                match answered(session.ssh_connect(&id)).await {
                    // Either end may end it as it likes.
                    Ok(mut agent) => drop(tokio::io::copy_bidirectional(&mut socket, &mut agent).await),
                    Err(error) => tracing::info!(id, %error, "an agent of the client's cannot be reached"),
                }
            });
        }
    });
    Ok((path, Forward { _task: AbortOnDropHandle::new(task) }))
}

/// The next connection. What keeps one from being taken (the process has no descriptor left) passes.
async fn accepted<T, F: Future<Output = std::io::Result<T>>>(accept: impl Fn() -> F) -> T {
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a command is not connected to an agent yet");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

fn listen(option: &SshOpt, place: &Path) -> std::io::Result<(UnixListener, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory: OwnedFd = rustix::fs::open(place, flags, Mode::empty())?;
    // A socket's path is short, and the engine's root may be anywhere.
    let short = format!("/proc/self/fd/{}/agent", directory.as_raw_fd());
    let listener = UnixListener::bind(short)?;
    let (uid, gid) = (Uid::from_raw(option.uid), Gid::from_raw(option.gid));
    rustix::fs::chownat(&directory, "agent", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = if option.mode == 0 { 0o600 } else { option.mode & 0o777 };
    rustix::fs::chmodat(&directory, "agent", Mode::from_raw_mode(mode), AtFlags::empty())?;
    Ok((listener, place.join("agent")))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{Error, ErrorKind};

    use super::*;

    #[tokio::test]
    async fn a_connection_that_cannot_be_taken_is_not_the_last() {
        let tries = Cell::new(0);
        let accept = || {
            tries.set(tries.get() + 1);
            let is_third = tries.get() == 3;
            async move { if is_third { Ok("socket") } else { Err(Error::from(ErrorKind::OutOfMemory)) } }
        };
        assert_eq!((accepted(accept).await, tries.get()), ("socket", 3));
    }
}

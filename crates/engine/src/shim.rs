//! Speaking with shims over tokio.

mod attach;
mod connection;

use std::path::Path;

use runtime::shim::ShimHandle;
use runtime::shim::protocol::{Event, ExitStatus, Failure, FailureKind, Request, Response, Sandbox};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Kind, Result};

pub(crate) use attach::{Client, connect, pump, streams};
pub(crate) use connection::Connection;

/// How long a shim may take for what takes no time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A shim that runs; every request takes a connection of its own, so that a slow one holds up no
/// other.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) handle: ShimHandle,
    /// Of the protocol that it speaks.
    pub(crate) version: u32,
}

impl Shim {
    /// The shim that listens at `socket`, if one does.
    pub(crate) async fn find(socket: &Path) -> Result<(Self, Sandbox)> {
        let mut connection = Connection::open(socket).await?;
        match connection.ask(&Request::State).await? {
            Response::Sandbox(sandbox) => {
                let handle = ShimHandle {
                    id: sandbox.id.clone(),
                    socket: socket.to_owned(),
                    pid: sandbox.pid,
                    start_time: sandbox.start_time,
                    init_pid: sandbox.init_pid,
                };
                Ok((Self { handle, version: sandbox.version }, sandbox))
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        Connection::open(&self.handle.socket).await
    }

    /// Asks and expects no more than that it is done.
    pub(crate) async fn tell(&self, request: &Request) -> Result<()> {
        self.connect().await?.ask(request).await.map(drop)
    }

    /// Forgets a container or added process; how it ended, if it did.
    pub(crate) async fn delete(&self, container: &str, exec: Option<&str>) -> Result<Option<ExitStatus>> {
        let request =
            Request::Delete { container: container.to_owned(), exec: exec.map(str::to_owned), force: true };
        let asked = async { self.connect().await?.ask(&request).await };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        match answer.unwrap_or_else(|_| Err(Error::unavailable("the shim does not answer")))? {
            Response::Exit(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends a signal to a container's first process, or to an added one.
    pub(crate) async fn kill(&self, container: &str, exec: Option<&str>, signal: i32) -> Result<()> {
        let exec = exec.map(str::to_owned);
        self.tell(&Request::Kill { container: container.to_owned(), exec, signal, all: false }).await
    }

    /// A connection on which events come.
    pub(crate) async fn subscribe(&self) -> Result<Connection> {
        let mut connection = self.connect().await?;
        connection.ask(&Request::Subscribe).await?;
        Ok(connection)
    }

    /// Ends the shim, with all that is left in it.
    pub(crate) async fn shut_down(&self) -> Result<()> {
        let told = tokio::time::timeout(PATIENCE, self.tell(&Request::Shutdown)).await;
        told.unwrap_or_else(|_| Err(Error::unavailable("the shim does not answer")))
    }

    /// Kills the shim's process, if it is still the one that was started; the kernel kills what it
    /// holds.
    pub(crate) fn kill_process(&self) {
        let pid = i32::try_from(self.handle.pid).ok().and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { return };
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        // Looked at after it is held: the number may have been taken over by then, not any more.
        if self.handle.is_alive()
            && let Err(error) = pidfd_send_signal(&process, Signal::KILL)
        {
            tracing::debug!(pid = self.handle.pid, %error, "kill a shim");
        }
    }
}

/// The next event, or `None` where the shim is gone.
pub(crate) async fn next_event(connection: &mut Connection) -> Option<Event> {
    loop {
        match connection.receive().await {
            Ok(Some(frame)) => match frame.json() {
                Ok(event) => return Some(event),
                // A newer shim may know more events.
                Err(error) => tracing::debug!(error = %base::error::chain(&error), "unknown event of a shim"),
            },
            Ok(None) => return None,
            Err(error) => {
                tracing::debug!(error = %base::error::chain(&error), "the connection to a shim broke");
                return None;
            }
        }
    }
}

pub(crate) fn unexpected(response: &Response) -> Error {
    Error::internal(format!("the shim gave an unexpected answer: {response:?}"))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let (kind, code) = match failure.kind {
            FailureKind::NotFound => (Kind::NotFound, None),
            FailureKind::Exists | FailureKind::State => (Kind::Conflict, None),
            FailureKind::Invalid => (Kind::Invalid, Some(125)),
            FailureKind::ProgramNotFound => (Kind::Invalid, Some(127)),
            FailureKind::ProgramNotExecutable => (Kind::Invalid, Some(126)),
            FailureKind::Internal => (Kind::Internal, Some(125)),
        };
        let error = Error::new(kind, failure.message);
        match code {
            Some(code) => error.with_exit_code(code),
            None => error,
        }
    }
}

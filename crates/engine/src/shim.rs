//! Speaking with shims over tokio.
//!
//! A shim answers at once what takes no time, and says itself when what it does takes too long. One
//! that says nothing at all was stopped, or waits for a disk that does not answer: it holds up what
//! concerns its own containers for a bounded time, and nothing else.

mod attach;
mod connection;
mod find;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use runtime::shim::ShimHandle;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{Event, ExitStatus, Failure, FailureKind, Request, Response, Sandbox};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, Kind, NO_PROGRAM, NO_RIGHT, NOT_STARTED, Result};
use crate::work::in_place;

pub(crate) use attach::{Client, connect, pump, streams};
pub(crate) use connection::Connection;
pub(crate) use find::Found;

/// How long a shim may take for what takes no time.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one may take that has not answered the last time.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a shim may take to end what it holds: it says so itself before.
const END: Duration = Duration::from_secs(15);
/// How long a program may take to begin; the shim is told, and given a little more than that.
pub(crate) const LAUNCH: Duration = Duration::from_secs(60);
/// How much longer its answer is waited for.
pub(crate) const MARGIN: Duration = Duration::from_secs(15);

/// A shim that runs; every request takes a connection of its own, so that a slow one holds up no
/// other.
#[derive(Debug)]
pub(crate) struct Shim {
    pub(crate) handle: ShimHandle,
    /// Of the protocol that it speaks.
    pub(crate) version: u32,
    /// Whether it has not answered the last time.
    silent: AtomicBool,
}

impl Shim {
    pub(crate) fn new(handle: ShimHandle, version: u32) -> Self {
        Self { handle, version, silent: AtomicBool::new(false) }
    }

    /// A connection that has asked nothing yet.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.within(PATIENCE, Connection::open(&self.handle.socket)).await
    }

    /// Asks on a connection; `limit` is how long what is asked for may take.
    pub(crate) async fn ask(
        &self,
        connection: &mut Connection,
        request: &Request,
        limit: Duration,
    ) -> Result<Response> {
        self.within(limit, connection.ask(request)).await
    }

    /// As [`Shim::ask`], with the descriptors that the request announces.
    pub(crate) async fn ask_with(
        &self,
        connection: &mut Connection,
        request: &Request,
        with: &Descriptors,
        limit: Duration,
    ) -> Result<Response> {
        self.within(limit, connection.ask_with(request, with)).await
    }

    /// What it holds.
    pub(crate) async fn state(&self) -> Result<Sandbox> {
        match self.request(&Request::State, PATIENCE).await? {
            Response::Sandbox(sandbox) => Ok(sandbox),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks what takes no time.
    pub(crate) async fn query(&self, request: &Request) -> Result<Response> {
        self.request(request, PATIENCE).await
    }

    /// Asks and expects no more than that it is done.
    pub(crate) async fn tell(&self, request: &Request) -> Result<()> {
        self.request(request, PATIENCE).await.map(drop)
    }

    /// Forgets a container or added process; how it ended, if it did.
    pub(crate) async fn delete(&self, container: &str, exec: Option<&str>) -> Result<Option<ExitStatus>> {
        let request =
            Request::Delete { container: container.to_owned(), exec: exec.map(str::to_owned), force: true };
        match self.request(&request, END).await? {
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
        self.ask(&mut connection, &Request::Subscribe, PATIENCE).await?;
        Ok(connection)
    }

    /// Ends the shim, with all that is left in it.
    pub(crate) async fn shut_down(&self) -> Result<()> {
        self.request(&Request::Shutdown, END).await.map(drop)
    }

    /// Whether it did not answer the last time it was asked, though its process lives.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Kills the shim's process, if it still is there and the one that was started, waits a while for its end, and
    /// removes its socket; the kernel kills what it holds.
    pub(crate) async fn end_process(&self) {
        if let Some(process) = self.pidfd() {
            if let Err(error) = pidfd_send_signal(&process, Signal::KILL) {
                tracing::debug!(pid = self.handle.pid, %error, "kill a shim");
            }
            if tokio::time::timeout(END, self.ended()).await.is_err() {
                return;
            }
        }
        Self::clear(&self.handle.socket).await;
    }

    /// Removes a socket at which nobody listens: who looks for shims need not find that out. A process may be there
    /// and not to be seen, for want of descriptors for example; a socket says.
    pub(crate) async fn clear(socket: &Path) {
        if in_place(|| socket.exists()) && matches!(Self::find(socket).await, Ok(Found::Nothing)) {
            let _ = in_place(|| std::fs::remove_file(socket));
        }
    }

    /// Returns when the shim's process has ended.
    pub(crate) async fn ended(&self) {
        let Some(process) = self.pidfd() else { return };
        #[expect(
            deprecated,
            reason = "its successor takes unsafe code; the descriptor is owned by what it is in"
        )]
        let process = tokio::io::unix::AsyncFd::with_interest(process, tokio::io::Interest::READABLE);
        match process {
            Ok(process) => drop(process.readable().await),
            Err(error) => tracing::debug!(pid = self.handle.pid, %error, "watch a shim"),
        }
    }

    /// The shim's process, if it lives.
    fn pidfd(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.handle.pid).ok()?)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after it is held: the number may have been taken over by then, not any more.
        self.handle.is_alive().then_some(process)
    }

    async fn request(&self, request: &Request, limit: Duration) -> Result<Response> {
        self.within(limit, async { Connection::open(&self.handle.socket).await?.ask(request).await }).await
    }

    /// Waits for the shim, shortly if it has been waited for in vain before.
    async fn within<T>(&self, limit: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
        let limit = if self.is_silent() { SHORT_PATIENCE } else { limit };
        let answer = tokio::time::timeout(limit, asked).await;
        self.silent.store(answer.is_err(), Ordering::Relaxed);
        answer.unwrap_or_else(|_| {
            Err(Error::unavailable(format!(
                "the process that holds the container (gantry-shim, process {}) does not answer",
                self.handle.pid
            )))
        })
    }
}

/// The next event, or `None` where the connection has ended.
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
            FailureKind::ProgramNotFound | FailureKind::Missing => (Kind::Invalid, Some(NO_PROGRAM)),
            FailureKind::ProgramNotExecutable | FailureKind::Denied => (Kind::Invalid, Some(NO_RIGHT)),
            FailureKind::Invalid => (Kind::Invalid, Some(NOT_STARTED)),
            FailureKind::Internal => (Kind::Internal, Some(NOT_STARTED)),
        };
        let error = Error::new(kind, failure.message);
        match code {
            Some(code) => error.with_exit_code(code),
            None => error,
        }
    }
}

//! A process that the shim holds: a container's first one, or one that joined it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use base::Timestamp;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::termios::Winsize;

use super::backlog::Backlog;
use super::log::{Log, Stream};
use super::notes::note;
use super::protocol::{ExitStatus, Failure, Stdio};
use super::requests::internal;
use crate::launch::{self, Started};
use crate::spec::ConsoleSize;
use crate::sys::signal;

/// Input that may wait for a process before its client is held up.
pub(super) const INPUT_LIMIT: usize = 64 << 10;

/// A process that the shim holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) container: String,
    /// Its name, unless it is the container's first one.
    pub(super) exec: Option<String>,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) pidfd: OwnedFd,
    pub(super) started_at: Option<Timestamp>,
    pub(super) input: Option<Input>,
    pub(super) outputs: [Option<Output>; 2],
    pub(super) terminal: bool,
    pub(super) stdin_once: bool,
    /// What it wrote, until somebody attaches.
    pub(super) backlog: Option<Backlog>,
    pub(super) log: Option<Log>,
    /// Connections that get its streams.
    pub(super) attached: Vec<u32>,
    /// Connections that wait for its exit.
    pub(super) waiting: Vec<u32>,
    /// How it ended; not yet known to others.
    pub(super) ended: Option<ExitStatus>,
    /// How it ended, after all its output was passed on.
    pub(super) exit: Option<ExitStatus>,
    /// Connections that wait for it to be forgotten.
    pub(super) deleting: Vec<u32>,
    /// When a terminal's last output is no longer waited for, in milliseconds of the monotonic clock.
    pub(super) deadline: Option<u64>,
}

/// The way to its standard input.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) fd: OwnedFd,
    queue: VecDeque<u8>,
    /// Whether it is closed once the queue is empty.
    closing: bool,
    /// Whether it is registered with epoll.
    pub(super) watched: bool,
}

/// The way from one of its output streams.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) fd: OwnedFd,
    pub(super) stream: Stream,
    /// Whether epoll tells about it.
    pub(super) watched: bool,
}

/// The shim's sides of a process's streams, and the process's own.
pub(super) struct Pipes {
    pub(super) input: Option<Input>,
    pub(super) outputs: [Option<Output>; 2],
    pub(super) theirs: launch::Stdio,
}

/// The shim's side of the streams of a process that is about to be started, and its log.
#[derive(Debug)]
pub(super) struct Prepared {
    container: String,
    exec: Option<String>,
    stdio: Stdio,
    input: Option<Input>,
    outputs: [Option<Output>; 2],
    log: Option<Log>,
}

/// What became of an attempt to read.
pub(super) enum ReadOutcome {
    Bytes(usize),
    NothingNow,
    Ended,
}

impl Pipes {
    pub(super) fn make(stdio: &Stdio) -> io::Result<Self> {
        if stdio.terminal {
            return Ok(Self { input: None, outputs: [None, None], theirs: launch::Stdio::Terminal });
        }
        let (input, stdin) = if stdio.stdin {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&write)?;
            (Some(Input::new(write)), read)
        } else {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            (None, rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
        };
        let output = |stream| -> io::Result<(Option<Output>, OwnedFd)> {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            set_nonblocking(&read)?;
            Ok((Some(Output { fd: read, stream, watched: false }), write))
        };
        let (out, stdout) = output(Stream::Stdout)?;
        let (err, stderr) = output(Stream::Stderr)?;
        Ok(Self { input, outputs: [out, err], theirs: launch::Stdio::Fds([stdin, stdout, stderr]) })
    }

    /// The sides of a terminal, once it was made inside.
    pub(super) fn of_terminal(
        outer: OwnedFd,
        stdin: bool,
    ) -> io::Result<(Option<Input>, [Option<Output>; 2])> {
        set_nonblocking(&outer)?;
        let input = if stdin { Some(Input::new(outer.try_clone()?)) } else { None };
        Ok((input, [Some(Output { fd: outer, stream: Stream::Stdout, watched: false }), None]))
    }
}

impl Prepared {
    /// Opens the log and makes the pipes; the process's own sides come beside.
    pub(super) fn new(
        stdio: Stdio,
        container: String,
        exec: Option<String>,
    ) -> Result<(Self, launch::Stdio), Failure> {
        let log = stdio.log.clone().map(Log::open).transpose().map_err(|error| {
            internal(format!("open the log of {}: {error}", whose(&container, exec.as_deref())))
        })?;
        let Pipes { input, outputs, theirs } = Pipes::make(&stdio).map_err(|error| {
            internal(format!("make pipes for {}: {error}", whose(&container, exec.as_deref())))
        })?;
        Ok((Self { container, exec, stdio, input, outputs, log }, theirs))
    }

    /// The container, and the name of a process that joins it.
    pub(super) fn whose(&self) -> (String, Option<String>) {
        (self.container.clone(), self.exec.clone())
    }

    /// The record of the process that was started with these streams. One that cannot be held is
    /// killed and comes back with the reason.
    pub(super) fn hold(
        mut self,
        mut started: Started,
        started_at: Option<Timestamp>,
    ) -> Result<Held, (Failure, OwnedFd)> {
        let whose = whose(&self.container, self.exec.as_deref());
        for warning in &started.warnings {
            note!("{whose}: {warning}");
        }
        if let Some(outer) = started.terminal.take() {
            (self.input, self.outputs) = match Pipes::of_terminal(outer, self.stdio.stdin) {
                Ok(sides) => sides,
                Err(error) => {
                    // Nobody would ever hear of it again.
                    let _ = signal::send(started.pidfd.as_fd(), libc::SIGKILL);
                    let failure = internal(format!("hold the terminal of {whose}: {error}"));
                    return Err((failure, started.pidfd));
                }
            };
        }
        Ok(Held {
            container: self.container,
            exec: self.exec,
            pid: started.pid,
            start_time: started.start_time,
            pidfd: started.pidfd,
            started_at,
            input: self.input,
            outputs: self.outputs,
            terminal: self.stdio.terminal,
            stdin_once: self.stdio.stdin_once,
            backlog: Backlog::new(self.stdio.backlog),
            log: self.log,
            attached: Vec::new(),
            waiting: Vec::new(),
            ended: None,
            exit: None,
            deleting: Vec::new(),
            deadline: None,
        })
    }
}

/// A process as errors name it.
fn whose(container: &str, exec: Option<&str>) -> String {
    match exec {
        None => format!("container {container}"),
        Some(exec) => format!("process {exec} of container {container}"),
    }
}

impl Input {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, queue: VecDeque::new(), closing: false, watched: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !self.closing {
            self.queue.extend(bytes);
        }
    }

    /// Closes it once all is written.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= INPUT_LIMIT
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Writes as much as the process takes; `false` once it is to be closed.
    pub(super) fn flush(&mut self) -> bool {
        while !self.queue.is_empty() {
            let (front, _) = self.queue.as_slices();
            match rustix::io::write(&self.fd, front) {
                Ok(count) => drop(self.queue.drain(..count)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                // The process has closed its side: what was meant for it is lost, as with any pipe.
                Err(_) => return false,
            }
        }
        self.queue.shrink_to(4 << 10);
        !self.closing
    }
}

impl Output {
    pub(super) fn read(&self, buffer: &mut [u8]) -> ReadOutcome {
        loop {
            return match rustix::io::read(&self.fd, &mut *buffer) {
                Ok(0) => ReadOutcome::Ended,
                Ok(count) => ReadOutcome::Bytes(count),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => ReadOutcome::NothingNow,
                // A terminal whose inner side is closed everywhere says EIO.
                Err(_) => ReadOutcome::Ended,
            };
        }
    }
}

impl Held {
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sets the size of its terminal.
    pub(super) fn resize(&self, size: ConsoleSize) -> Result<(), Errno> {
        let outer = self.outputs[0].as_ref().filter(|_| self.terminal).ok_or(Errno::NOTTY)?;
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&outer.fd, size)
    }

    /// Whether all output has come to its end.
    pub(super) fn is_drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }
}

fn set_nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

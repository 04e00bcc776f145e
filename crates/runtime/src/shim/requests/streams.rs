//! The streams of a process that is about to be started, and the record made of it once it was.

use base::Timestamp;

use super::super::log::Log;
use super::super::process::{Held, Input, Output, Pipes};
use super::super::protocol::{Failure, Stdio};
use super::internal;
use crate::launch::{self, Started};
use crate::sys::signal;

/// The shim's side of a process's streams, and its log.
pub(super) struct Prepared {
    stdio: Stdio,
    input: Option<Input>,
    outputs: [Option<Output>; 2],
    log: Option<Log>,
    /// The process as errors name it.
    whose: String,
}

impl Prepared {
    /// Opens the log and makes the pipes; the process's own sides come beside.
    pub(super) fn new(stdio: Stdio, whose: String) -> Result<(Self, launch::Stdio), Failure> {
        let log = stdio
            .log
            .clone()
            .map(Log::open)
            .transpose()
            .map_err(|error| internal(format!("open the log of {whose}: {error}")))?;
        let Pipes { input, outputs, theirs } =
            Pipes::make(&stdio).map_err(|error| internal(format!("make pipes for {whose}: {error}")))?;
        Ok((Self { stdio, input, outputs, log, whose }, theirs))
    }

    /// The record of the process that was started with these streams.
    pub(super) fn hold(
        mut self,
        container: String,
        exec: Option<String>,
        mut started: Started,
        started_at: Option<Timestamp>,
    ) -> Result<Held, Failure> {
        for warning in &started.warnings {
            eprintln!("gantry shim: {}: {warning}", self.whose);
        }
        if let Some(outer) = started.terminal.take() {
            (self.input, self.outputs) = Pipes::of_terminal(outer, self.stdio.stdin).map_err(|error| {
                // Nobody would ever hear of it again.
                let _ = signal::send(std::os::fd::AsFd::as_fd(&started.pidfd), libc::SIGKILL);
                internal(format!("hold the terminal of {}: {error}", self.whose))
            })?;
        }
        Ok(Held {
            container,
            exec,
            pid: started.pid,
            start_time: started.start_time,
            pidfd: started.pidfd,
            started_at,
            input: self.input,
            outputs: self.outputs,
            terminal: self.stdio.terminal,
            stdin_once: self.stdio.stdin_once,
            log: self.log,
            attached: Vec::new(),
            waiting: Vec::new(),
            ended: None,
            exit: None,
            deadline: None,
        })
    }
}

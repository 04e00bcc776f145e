//! The parent's side of a process between its clone and its exec.
//!
//! Nothing here waits: [`Making::hear`] takes in what the new process has said and says how far it
//! is. A program of one thread that has nothing else to do waits on the channel (`create` and
//! `join` beside), one that holds other containers watches it.
//!
//! A process that joins others may be taken over by one of them. What it says then is taken once, in
//! its place, and about itself only; all else comes from its stage, which they do not see, or is an error.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, Heard};
use super::plan::{Known, Limit};
use super::{ProcessError, Started, idmap, limits};
use crate::cgroup::Cgroup;
use crate::spec::{IdMapping, Process, State};
use crate::sys::{process, schedule, signal};

/// A process on its way to its program. Dropping it lets go of the process: one that still waits
/// to be told something ends by itself.
#[derive(Debug)]
pub(crate) struct Making {
    channel: Channel,
    /// What is to be done yet before the process goes on.
    outset: Option<Outset>,
    /// What is done when the process proper is there, if a stage has cloned it.
    known: Known,
    /// The process that enters namespaces and clones the one proper; to be waited for.
    stage: Option<(u32, OwnedFd)>,
    /// Whether that one makes all there is to be made.
    by_stage: bool,
    /// The number of the process proper, once it is there.
    proper: Option<u32>,
    started: Option<Started>,
    terminal: Option<OwnedFd>,
    warnings: Vec<String>,
    /// The container's state, as hooks get it; empty where there are none.
    state: Vec<u8>,
    /// The same, to be told again with another process.
    of_container: Option<State>,
    said: Said,
}

/// What a process has said, none of which is said twice.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    hooks: bool,
    created: bool,
    executing: bool,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It has said nothing new.
    Waiting,
    /// It waits for the runtime's hooks to have run, and then for [`Making::hooks_done`].
    Hooks,
    /// A container is made; its process waits for [`Making::release`].
    Made,
    /// Its program runs, or has run.
    Executed,
}

/// What its parent does for a new process before that goes on.
#[derive(Debug)]
pub(super) struct Outset {
    pub(super) cgroup: Cgroup,
    /// Limits and the like are taken from here.
    pub(super) process: Process,
    pub(super) limits: Vec<Limit>,
    /// Users and groups of a new user namespace.
    pub(super) maps: Option<(Vec<IdMapping>, Vec<IdMapping>)>,
    /// The container's state without its process, where it has hooks.
    pub(super) state: Option<State>,
}

impl Making {
    /// A process that is to be taken over, or its stage.
    pub(super) fn new(channel: Channel, outset: Outset, known: Known, warnings: Vec<String>) -> Self {
        Self {
            channel,
            outset: Some(outset),
            known,
            stage: None,
            by_stage: false,
            proper: None,
            started: None,
            terminal: None,
            warnings,
            state: Vec::new(),
            of_container: None,
            said: Said::default(),
        }
    }

    /// The stage is there, to which the clone is left, and with `makes_all` everything before it.
    pub(super) fn take_stage_over(&mut self, pid: u32, pidfd: OwnedFd, makes_all: bool) {
        self.stage = Some((pid, pidfd));
        self.by_stage = makes_all;
    }

    /// The process is there: holds it, and lets it go on if it waits.
    pub(super) fn take_over(&mut self, pid: u32, pidfd: OwnedFd) -> Result<(), ProcessError> {
        let start_time = process::start_time(pid).unwrap_or(0);
        self.proper = Some(pid);
        self.started = Some(Started { pid, pidfd, start_time, terminal: None, warnings: Vec::new() });
        if !self.by_stage {
            return self.settle(pid);
        }
        if let Some(policy) = &self.known.schedule {
            let set = schedule::set_policy(pid, policy);
            set.map_err(|error| ProcessError::host("set the scheduling policy", error))?;
        }
        if !self.known.awaits {
            return Ok(());
        }
        self.tell_state_of(pid)
    }

    /// Puts the process that waits where it belongs and lets it go on, once.
    pub(super) fn settle(&mut self, pid: u32) -> Result<(), ProcessError> {
        let Some(outset) = self.outset.take() else { return Ok(()) };
        if let Some((users, groups)) = &outset.maps {
            idmap::write(pid, users, groups)?;
        }
        outset.cgroup.add_clone(pid).map_err(ProcessError::Cgroup)?;
        limits::raise(pid, &outset.process, &outset.limits, &mut self.warnings)?;
        self.of_container = outset.state;
        self.tell_state_of(pid)
    }

    /// Lets a process go on, and hooks know it.
    fn tell_state_of(&mut self, pid: u32) -> Result<(), ProcessError> {
        if let Some(state) = &mut self.of_container {
            state.pid = pid as i32;
            self.state = bytes_of(state)?;
        }
        self.tell(FromParent::Go, true)
    }

    /// Takes in what the process has said. Where the channel blocks, waits for it to say something
    /// that matters, and never gives [`Progress::Waiting`].
    pub(crate) fn hear(&mut self) -> Result<Progress, ProcessError> {
        loop {
            // One is handed out by who makes the terminal, before the process proper can say anything.
            let rights = self.known.terminal && self.terminal.is_none();
            let heard = self.channel.hear_child(rights);
            let heard = heard.map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => ProcessError::Interfered,
                _ => ProcessError::host("hear the new process", error),
            })?;
            let Some(Heard { message, sender }) = heard else { return Ok(Progress::Waiting) };
            let stage = self.stage.as_ref().map(|(pid, _)| *pid);
            let is_stage = stage == Some(sender);
            let is_maker = if self.by_stage { is_stage } else { self.proper == Some(sender) };
            match message {
                FromChild::Entered if is_stage && self.outset.is_some() => self.settle(sender)?,
                FromChild::Cloned(pid) if is_stage && self.proper.is_none() => {
                    // It is our child and not yet waited for: its number cannot belong to another.
                    let pidfd = Pid::from_raw(pid as i32)
                        .ok_or(Errno::SRCH)
                        .and_then(|number| pidfd_open(number, PidfdFlags::empty()))
                        .map_err(|error| ProcessError::host("hold the new process", error))?;
                    self.take_over(pid, pidfd)?;
                }
                FromChild::Terminal(terminal) if is_maker && rights => self.terminal = Some(terminal),
                FromChild::Hooks if is_maker && !self.said.hooks => {
                    self.said.hooks = true;
                    return Ok(Progress::Hooks);
                }
                FromChild::Created if self.proper == Some(sender) && !self.said.created => {
                    self.said.created = true;
                    return Ok(Progress::Made);
                }
                FromChild::Executing if !is_stage && !self.said.executing => self.said.executing = true,
                FromChild::Failed(failed) => return Err(child_error(&failed)),
                FromChild::Closed if self.said.executing => return Ok(Progress::Executed),
                FromChild::Closed => return Err(ProcessError::Died),
                _ => return Err(ProcessError::Interfered),
            }
        }
    }

    /// Lets [`Making::hear`] return when there is nothing to hear.
    pub(crate) fn set_nonblocking(&self) -> Result<(), ProcessError> {
        rustix::fs::fcntl_getfl(&self.channel)
            .and_then(|flags| rustix::fs::fcntl_setfl(&self.channel, flags | OFlags::NONBLOCK))
            .map_err(|error| ProcessError::host("prepare to hear the new process", error))
    }

    /// The runtime's hooks have run.
    pub(crate) fn hooks_done(&self) -> Result<(), ProcessError> {
        self.tell(FromParent::HooksDone, false)
    }

    /// Starts the program of a container that is made.
    pub(crate) fn release(&self) -> Result<(), ProcessError> {
        self.tell(FromParent::Release, false)
    }

    /// The container's state, as hooks get it.
    pub(crate) fn state(&self) -> &[u8] {
        &self.state
    }

    /// The process, once: when it is made, or its program runs.
    pub(crate) fn take_started(&mut self) -> Option<Started> {
        let mut started = self.started.take()?;
        started.terminal = self.terminal.take();
        started.warnings = std::mem::take(&mut self.warnings);
        Some(started)
    }

    /// The helper, once it has done its work: the caller waits for it.
    pub(crate) fn take_stage(&mut self) -> Option<OwnedFd> {
        self.proper.and_then(|_| self.stage.take()).map(|(_, pidfd)| pidfd)
    }

    /// Kills what was begun; the caller waits for these processes.
    pub(crate) fn abandon(mut self) -> impl Iterator<Item = OwnedFd> {
        let stage = self.stage.take().map(|(_, pidfd)| pidfd);
        let all = [self.started.take().map(|started| started.pidfd), stage];
        for pidfd in all.iter().flatten() {
            let _ = signal::send(pidfd.as_fd(), libc::SIGKILL);
        }
        all.into_iter().flatten()
    }

    fn tell(&self, message: FromParent, with_state: bool) -> Result<(), ProcessError> {
        let state = if with_state { self.state.as_slice() } else { &[] };
        match self.channel.tell_child(message, state) {
            // Whether it has died, and of what, shows when it is heard.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(ProcessError::host("let the new process go on", error)),
        }
    }
}

impl AsFd for Making {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// Waits for a process that has ended, or was killed.
pub(super) fn reap(pidfd: &OwnedFd) {
    let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
}

fn child_error(failed: &Failed) -> ProcessError {
    let what = failed.text();
    let why = || match failed.errno {
        0 => what.clone(),
        errno => format!("{what}: {}", base::error::meaning(errno)),
    };
    match failed.kind {
        FailedKind::Other => ProcessError::Child { source: io::Error::from_raw_os_error(failed.errno), what },
        FailedKind::ProgramNotFound => ProcessError::ProgramNotFound(why()),
        FailedKind::ProgramNotExecutable => ProcessError::ProgramNotExecutable(why()),
    }
}

fn bytes_of(state: &State) -> Result<Vec<u8>, ProcessError> {
    let bytes = serde_json::to_vec(state).expect("a state has only string keys");
    if bytes.len() > super::channel::MESSAGE {
        return Err(ProcessError::invalid("the annotations are too long to be given to hooks"));
    }
    Ok(bytes)
}

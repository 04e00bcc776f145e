//! A process between the runtime and the one that is started, where that one enters namespaces that
//! exist already: those of a process change for its children only, or for good.
//!
//! ```text
//!   runtime                    stage (in the cgroup)          process proper
//!   clone3 ──────────────────▶ enters the namespaces
//!                              clone, as its sibling ───────▶ in all of them
//!     ◀───────────── its number
//!     ◀─────────────────── exit
//! ```

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::channel::{Channel, Failed, FromChild};
use super::plan::{ContainerPlan, JoinPlan, Kept};
use super::{ProcessError, child, parent};
use crate::sys::clone::{Cloned, clone_sibling, clone3, exit_now};

/// What a stage is made with.
pub(super) struct Stage<'a> {
    pub(super) ours: &'a Channel,
    pub(super) theirs: Channel,
    /// The v2 cgroup that it begins in, and what it clones too. It cannot be entered later: from a
    /// cgroup namespace one sees no groups outside of it.
    pub(super) cgroup: Option<OwnedFd>,
}

/// What a stage and the process proper do.
pub(super) trait StagePlan {
    /// Chooses the descriptors that stay open, `told` among them until the process proper begins.
    fn keep(&mut self, channel: &Channel, told: Option<&OwnedFd>);
}

impl Stage<'_> {
    /// Clones the stage, which does `enter` and clones the process proper with the flags that come
    /// back, which does `run`. Meanwhile the caller does `prepare` with the stage's number.
    pub(super) fn run<P: StagePlan>(
        self,
        mut plan: P,
        prepare: impl FnOnce(u32) -> Result<(), ProcessError>,
        enter: impl FnOnce(&mut P, &Channel) -> Result<u64, Failed>,
        run: impl FnOnce(P, Channel),
    ) -> Result<(u32, OwnedFd), ProcessError> {
        let Self { ours, theirs, cgroup } = self;
        let failed = |error: io::Error| ProcessError::host("clone a process into other namespaces", error);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        plan.keep(&theirs, Some(&write));
        // SAFETY: the caller has one thread; the child ends in this arm.
        let (stage, pidfd) = match unsafe { clone3(0, cgroup.as_ref().map(AsFd::as_fd)) }.map_err(failed)? {
            Cloned::Child => {
                let flags = match enter(&mut plan, &theirs) {
                    Ok(flags) => flags,
                    Err(error) => child::give_up(&theirs, error),
                };
                // SAFETY: this process was forked from one with one thread; the child ends in this arm.
                match unsafe { clone_sibling(flags) } {
                    Ok(None) => {
                        drop(write);
                        run(plan, theirs);
                        exit_now(1)
                    }
                    Ok(Some(pid)) => {
                        let told = rustix::io::write(&write, &pid.to_ne_bytes());
                        exit_now(i32::from(told.is_err()))
                    }
                    Err(error) => {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        child::give_up(&theirs, Failed::new(errno, format_args!("clone into the namespaces")))
                    }
                }
            }
            Cloned::Parent { pid, pidfd } => (pid, pidfd.expect("asked for a pidfd")),
        };
        drop((write, theirs, plan));
        prepare(stage).inspect_err(|_| parent::kill_and_reap(pidfd.as_fd()))?;
        let mut pid = [0u8; 4];
        let told = io::Read::read_exact(&mut std::fs::File::from(read), &mut pid);
        waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(|error| failed(error.into()))?;
        if told.is_err() {
            // It may have said other things before.
            loop {
                match parent::hear(ours)? {
                    FromChild::Failed(error) => return Err(parent::child_error(&error)),
                    FromChild::Closed => return Err(ProcessError::Died),
                    _ => {}
                }
            }
        }
        let pid = u32::from_ne_bytes(pid);
        // The process is our child and not yet waited for: its number cannot belong to another.
        let number = Pid::from_raw(pid as i32).expect("process ids are positive");
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
        Ok((pid, pidfd))
    }
}

impl StagePlan for ContainerPlan {
    fn keep(&mut self, channel: &Channel, told: Option<&OwnedFd>) {
        let own = [channel.as_fd()].into_iter().chain(told.map(AsFd::as_fd));
        self.process.kept_at_birth = Kept::of(self.descriptors().chain(own.map(|fd| fd.as_raw_fd())));
        let own = [channel.as_fd()].into_iter().chain(self.process.release.as_ref().map(AsFd::as_fd));
        self.process.kept = Kept::of(own.map(|fd| fd.as_raw_fd()));
    }
}

impl StagePlan for JoinPlan {
    fn keep(&mut self, channel: &Channel, told: Option<&OwnedFd>) {
        let own = || [channel.as_fd()].into_iter().chain(told.map(AsFd::as_fd)).map(|fd| fd.as_raw_fd());
        let target = std::iter::once(self.target.as_raw_fd());
        self.process.kept_at_birth = Kept::of(self.process.descriptors().chain(target).chain(own()));
        self.process.kept = Kept::of(own());
    }
}

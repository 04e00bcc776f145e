//! A process between the runtime and the one that is started, where that one enters namespaces that
//! exist already: those of a process change for its children only, or for good.
//!
//! ```text
//!   runtime                    stage (in the cgroup)          process proper
//!   clone3 ──────────────────▶ enters the namespaces
//!   Go? ─────────────────────▶ all but the program?
//!                              clone, as its sibling ───────▶ in all of them
//!     ◀──────────── Cloned, exit
//!   Go? ─────────────────────────────────────────────────────▶ the program
//! ```
//!
//! Where others live in the process namespace that is entered, they see the process proper, and who has
//! `CAP_SYS_PTRACE` there can take it over (CVE-2016-9962). So all is done by the stage, which they do
//! not see: the process proper has nothing of the host's from its first moment.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::channel::{Channel, Failed, FromChild};
use super::plan::{ContainerPlan, JoinPlan, Kept};
use super::{ProcessError, child};
use crate::sys::clone::{Cloned, clone_sibling, clone3, exit_now};

/// What a stage is made with.
pub(super) struct Stage {
    pub(super) theirs: Channel,
    /// The v2 cgroup that it begins in, and what it clones too. It cannot be entered later: from a
    /// cgroup namespace one sees no groups outside of it.
    pub(super) cgroup: Option<OwnedFd>,
}

/// What a stage and the process proper do.
pub(super) trait StagePlan {
    /// Chooses the descriptors that stay open.
    fn keep(&mut self, channel: &Channel);
}

impl Stage {
    /// Clones the stage, which does `enter` and clones the process proper with the flags that come
    /// back, which does `run`. Gives the stage, which the caller waits for; the number of the process
    /// proper comes over the channel.
    pub(super) fn begin<P: StagePlan>(
        self,
        mut plan: P,
        enter: impl FnOnce(&mut P, &Channel) -> Result<u64, Failed>,
        run: impl FnOnce(P, Channel),
    ) -> Result<(u32, OwnedFd), ProcessError> {
        let Self { theirs, cgroup } = self;
        plan.keep(&theirs);
        // SAFETY: the caller has one thread; the child ends in this arm.
        let cloned = unsafe { clone3(0, cgroup.as_ref().map(AsFd::as_fd)) };
        match cloned.map_err(|error| ProcessError::host("clone a process into other namespaces", error))? {
            Cloned::Child => {
                let flags = match enter(&mut plan, &theirs) {
                    Ok(flags) => flags,
                    Err(error) => child::give_up(&theirs, error),
                };
                // SAFETY: this process was forked from one with one thread; the child ends in this arm.
                match unsafe { clone_sibling(flags) } {
                    Ok(None) => {
                        run(plan, theirs);
                        exit_now(1)
                    }
                    Ok(Some(pid)) => {
                        let told = theirs.tell_parent(&FromChild::Cloned(pid));
                        exit_now(i32::from(told.is_err()))
                    }
                    Err(error) => {
                        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                        child::give_up(&theirs, Failed::new(errno, format_args!("clone into the namespaces")))
                    }
                }
            }
            Cloned::Parent { pid, pidfd } => Ok((pid, pidfd.expect("asked for a pidfd"))),
        }
    }
}

impl StagePlan for ContainerPlan {
    fn keep(&mut self, channel: &Channel) {
        let own = std::iter::once(channel.as_fd().as_raw_fd());
        self.process.kept_at_birth = Kept::of(self.descriptors().chain(own));
        let own = [channel.as_fd()].into_iter().chain(self.process.release.as_ref().map(AsFd::as_fd));
        self.process.kept = Kept::of(own.map(|fd| fd.as_raw_fd()));
    }
}

impl StagePlan for JoinPlan {
    fn keep(&mut self, channel: &Channel) {
        let own = || std::iter::once(channel.as_fd().as_raw_fd());
        let target = std::iter::once(self.target.as_raw_fd());
        self.process.kept_at_birth = Kept::of(self.process.descriptors().chain(target).chain(own()));
        self.process.kept = Kept::of(own());
    }
}

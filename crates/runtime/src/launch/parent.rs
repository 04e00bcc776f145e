//! The runtime's side of starting a process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent};
use super::plan::{ContainerPlan, JoinPlan, StdioPlan};
use super::stage::{Stage, StagePlan};
use super::{Container, Joining, ProcessError, Started, Stdio, child, hooks, idmap, limits, prepare};
use crate::cgroup::Cgroup;
use crate::spec::{Linux, NamespaceKind, Process, State, Status, VERSION};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::{process, signal};

/// A made container whose program waits to be started.
#[derive(Debug)]
pub(crate) struct Pending {
    channel: Channel,
}

/// Makes a container up to the point where its program would start.
///
/// The caller has one thread. On failure nothing of the container is left but its cgroup.
pub(crate) fn create(mut container: Container<'_>) -> Result<(Started, Pending), ProcessError> {
    let spec = container.spec;
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let process =
        spec.process.as_ref().ok_or_else(|| ProcessError::invalid("the configuration has no `process`"))?;
    let mut warnings = Vec::new();
    let userns = linux.namespace(NamespaceKind::User).is_some();
    let stdio = stdio_plan(std::mem::replace(&mut container.stdio, Stdio::Inherit), process);
    let mut plan = prepare::process(process, linux, container.filter, userns, stdio, &mut warnings)?;
    plan.die_with_parent = container.die_with_parent;
    plan.preserve_fds = container.preserve_fds;
    plan.release = container.release.take();
    plan.keyring = (!container.no_new_keyring)
        .then(|| prepare::c_string(format!("_ses.{}", container.id)))
        .transpose()?
        .map(Some);
    let plan = prepare::container(&mut container, plan)?;
    let wants_state =
        plan.pause_for_hooks || !plan.create_container.is_empty() || !plan.start_container.is_empty();
    let new_maps = plan.namespaces.new & NamespaceKind::User.flag() != 0;

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let limits = plan.process.limits.clone();
    let (pid, pidfd) = clone_into(plan, theirs, &ours, container.cgroup)?;
    let start_time = process::start_time(pid).unwrap_or(0);
    let mut started = Started { pid, pidfd, start_time, terminal: None, warnings };
    let made = (|| {
        if new_maps {
            idmap::write(pid, &linux.uid_mappings, &linux.gid_mappings)?;
        }
        container.cgroup.add_clone(pid).map_err(ProcessError::Cgroup)?;
        limits::raise(pid, process, &limits, &mut started.warnings)?;
        let state = if wants_state { state_of(&container, pid)? } else { Vec::new() };
        go(&ours, &state)?;
        drive(&ours, &container, &mut started, &state)
    })();
    made.inspect_err(|_| kill(&started))?;
    Ok((started, Pending { channel: ours }))
}

/// Starts a further process in a container; returns once its program runs.
///
/// The caller has one thread. The process is in the container's cgroup before it does anything, and
/// enters all namespaces of the container, the user namespace included: first in another process
/// that nobody inside sees, then by a clone of that one.
pub(crate) fn join(joining: Joining<'_>) -> Result<Started, ProcessError> {
    let mut warnings = Vec::new();
    let flags = foreign_namespaces(joining.target_pid)?;
    // Asked after looking: if the number had been taken over, the process itself would be gone.
    signal::send(joining.target, 0)
        .map_err(|error| ProcessError::host("find the container's first process", error))?;
    let user = flags & NamespaceKind::User.flag() != 0;
    let stdio = stdio_plan(joining.stdio, joining.process);
    let linux = Linux::default();
    let mut process = prepare::process(joining.process, &linux, joining.filter, user, stdio, &mut warnings)?;
    process.die_with_parent = joining.die_with_parent;
    process.preserve_fds = joining.preserve_fds;
    // Not the container's own, which is found by its name, and names can be taken.
    process.keyring = Some(None);
    let limits = process.limits.clone();
    let target = joining.target.try_clone_to_owned();
    let target = target.map_err(|error| ProcessError::host("hold the container's first process", error))?;
    let born_ready = process.can_be_born_ready();
    let plan = JoinPlan { process, target, namespaces: flags, user, born_ready };

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let cgroup = joining.cgroup.clone_directory_of(joining.target_pid).map_err(ProcessError::Cgroup)?;
    let stage = Stage { ours: &ours, theirs, cgroup };
    let (pid, pidfd) = stage.run(
        plan,
        |stage| {
            joining.cgroup.add_clone(stage).map_err(ProcessError::Cgroup)?;
            limits::raise(stage, joining.process, &limits, &mut warnings)?;
            go(&ours, &[])
        },
        |plan, channel| child::enter_container(plan, channel).map(|()| 0),
        |plan, channel| child::joined(plan, channel),
    )?;
    let start_time = process::start_time(pid).unwrap_or(0);
    let mut started = Started { pid, pidfd, start_time, terminal: None, warnings };
    started.terminal = executed(&ours).inspect_err(|_| kill(&started))?;
    Ok(started)
}

impl Pending {
    /// Starts the program; returns once it runs.
    pub(crate) fn release(self) -> Result<(), ProcessError> {
        match self.channel.tell_child(FromParent::Release, &[]) {
            // Whether it has died, and of what, shows when it is heard.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => {}
            Err(error) => return Err(ProcessError::host("release the process", error)),
        }
        executed(&self.channel).map(drop)
    }
}

/// Kills and reaps a process that will not be handed to the caller.
fn kill(started: &Started) {
    kill_and_reap(started.pidfd.as_fd());
}

pub(super) fn kill_and_reap(pidfd: BorrowedFd<'_>) {
    let _ = signal::send(pidfd, libc::SIGKILL);
    let _ = waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
}

fn stdio_plan(stdio: Stdio, process: &Process) -> StdioPlan {
    match stdio {
        Stdio::Inherit => StdioPlan::Inherit,
        Stdio::Fds(fds) => StdioPlan::Fds(fds),
        Stdio::Terminal => StdioPlan::Terminal(process.console_size),
    }
}

/// Clones the first process of a container, directly if it joins nothing, else by a stage.
fn clone_into(
    mut plan: ContainerPlan,
    theirs: Channel,
    ours: &Channel,
    cgroup: &Cgroup,
) -> Result<(u32, OwnedFd), ProcessError> {
    let new = plan.namespaces.new;
    let cgroup = cgroup.clone_directory().map_err(ProcessError::Cgroup)?;
    if plan.namespaces.joins.is_empty() && plan.namespaces.time_offsets.is_none() {
        plan.keep(&theirs, None);
        // SAFETY: the caller has one thread; the child never returns from `child::container`.
        return match unsafe { clone3(new, cgroup.as_ref().map(AsFd::as_fd)) } {
            Ok(Cloned::Child) => child::container(plan, theirs),
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd.expect("asked for a pidfd"))),
            Err(error) => Err(ProcessError::host("clone the container's first process", error)),
        };
    }
    Stage { ours, theirs, cgroup }.run(
        plan,
        |_| Ok(()),
        |plan, _| child::enter_first(plan).map(|()| plan.namespaces.new),
        |plan, channel| child::container(plan, channel),
    )
}

/// Lets the child go on. One that has died meanwhile is heard of afterwards.
fn go(channel: &Channel, state: &[u8]) -> Result<(), ProcessError> {
    match channel.tell_child(FromParent::Go, state) {
        Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(error) => Err(ProcessError::host("let the new process go on", error)),
    }
}

/// Does what the child asks for, until it is made.
fn drive(
    channel: &Channel,
    container: &Container<'_>,
    started: &mut Started,
    state: &[u8],
) -> Result<(), ProcessError> {
    let spec = container.spec;
    loop {
        match hear(channel)? {
            FromChild::Created => return Ok(()),
            FromChild::Terminal(terminal) => started.terminal = Some(terminal),
            FromChild::Hooks => {
                let hooks = spec.hooks.clone().unwrap_or_default();
                hooks::run_all(&hooks.prestart, state, container.bundle)?;
                hooks::run_all(&hooks.create_runtime, state, container.bundle)?;
                channel
                    .tell_child(FromParent::HooksDone, &[])
                    .map_err(|error| ProcessError::host("let the new process go on", error))?;
            }
            FromChild::Failed(failed) => return Err(child_error(&failed)),
            FromChild::Closed | FromChild::Executing => return Err(ProcessError::Died),
        }
    }
}

/// Waits until the program runs: the exec closes the channel. Gives the terminal, if one came.
fn executed(channel: &Channel) -> Result<Option<OwnedFd>, ProcessError> {
    let mut executing = false;
    let mut outer = None;
    loop {
        match hear(channel)? {
            FromChild::Executing => executing = true,
            FromChild::Terminal(terminal) => outer = Some(terminal),
            FromChild::Failed(failed) => return Err(child_error(&failed)),
            FromChild::Closed if executing => return Ok(outer),
            FromChild::Closed | FromChild::Created | FromChild::Hooks => return Err(ProcessError::Died),
        }
    }
}

pub(super) fn hear(channel: &Channel) -> Result<FromChild, ProcessError> {
    channel.hear_child().map_err(|error| ProcessError::host("hear the new process", error))
}

pub(super) fn child_error(failed: &Failed) -> ProcessError {
    let (what, source) = (failed.text(), io::Error::from_raw_os_error(failed.errno));
    match failed.kind {
        FailedKind::Other => ProcessError::Child { what, source },
        FailedKind::ProgramNotFound => ProcessError::ProgramNotFound { what, source },
        FailedKind::ProgramNotExecutable => ProcessError::ProgramNotExecutable { what, source },
    }
}

/// The kinds of namespaces in which the container differs from this process.
fn foreign_namespaces(pid: u32) -> Result<u64, ProcessError> {
    use std::os::unix::fs::MetadataExt;
    let failed = |error| ProcessError::host("look at the namespaces of the container", error);
    let mut flags = 0;
    for kind in NamespaceKind::ALL {
        let theirs = std::fs::metadata(format!("/proc/{pid}/ns/{}", kind.file())).map_err(failed)?;
        let own = std::fs::metadata(format!("/proc/self/ns/{}", kind.file())).map_err(failed)?;
        if (own.dev(), own.ino()) != (theirs.dev(), theirs.ino()) {
            flags |= kind.flag();
        }
    }
    Ok(flags)
}

/// The state that hooks get.
fn state_of(container: &Container<'_>, pid: u32) -> Result<Vec<u8>, ProcessError> {
    let state = State {
        oci_version: VERSION.to_owned(),
        id: container.id.to_owned(),
        status: Status::Creating,
        pid: pid as i32,
        bundle: container.bundle.to_owned(),
        annotations: container.spec.annotations.clone(),
    };
    let bytes = serde_json::to_vec(&state).expect("a state has only string keys");
    if bytes.len() > super::channel::MESSAGE {
        return Err(ProcessError::invalid("the annotations are too long to be given to hooks"));
    }
    Ok(bytes)
}

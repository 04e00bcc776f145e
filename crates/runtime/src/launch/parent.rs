//! The runtime's side of starting a process.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, Tried};
use super::plan::{ContainerPlan, NamespacePlan, StdioPlan};
use super::{Container, Joining, ProcessError, Started, Stdio, child, hooks, idmap, limits, prepare};
use crate::cgroup::Cgroup;
use crate::spec::{Linux, NamespaceKind, Process, State, Status, VERSION};
use crate::sys::clone::{CLONE_PARENT, Cloned, clone3, exit_now, setns, unshare};
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
        .transpose()?;
    let plan = prepare::container(&mut container, plan)?;
    let wants_state =
        plan.pause_for_hooks || !plan.create_container.is_empty() || !plan.start_container.is_empty();
    let new_maps = plan.namespaces.new & NamespaceKind::User.flag() != 0;

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let (pid, pidfd) = clone_into(plan, theirs, &ours, container.cgroup)?;
    let start_time = process::start_time(pid).unwrap_or(0);
    let mut started = Started { pid, pidfd, start_time, terminal: None, warnings };
    let made = (|| {
        if new_maps {
            idmap::write(pid, &linux.uid_mappings, &linux.gid_mappings)?;
        }
        container.cgroup.add(pid).map_err(ProcessError::Cgroup)?;
        limits::apply(pid, process, &mut started.warnings)?;
        let state = if wants_state { state_of(&container, pid)? } else { Vec::new() };
        go(&ours, &state)?;
        drive(&ours, &container, &mut started, &state)
    })();
    made.inspect_err(|_| kill(&started))?;
    Ok((started, Pending { channel: ours }))
}

/// Starts a further process in a container; returns once its program runs.
///
/// The caller has one thread. The process enters the container's cgroup before it does anything,
/// and all namespaces of the container, the user namespace included.
pub(crate) fn join(joining: Joining<'_>) -> Result<Started, ProcessError> {
    let mut warnings = Vec::new();
    let flags = foreign_namespaces(joining.target_pid)?;
    // Asked after looking: if the number had been taken over, the process itself would be gone.
    signal::send(joining.target, 0)
        .map_err(|error| ProcessError::host("find the container's first process", error))?;
    let user = flags & NamespaceKind::User.flag() != 0;
    let stdio = stdio_plan(joining.stdio, joining.process);
    let linux = Linux::default();
    let mut plan = prepare::process(joining.process, &linux, joining.filter, user, stdio, &mut warnings)?;
    plan.die_with_parent = joining.die_with_parent;
    plan.preserve_fds = joining.preserve_fds;
    plan.wait = false;

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let target = joining.target;
    let cgroup = cgroup_fd(joining.cgroup)?;
    let (pid, pidfd) = staged(
        &ours,
        theirs,
        move |_| {
            setns(target, flags).tried(format_args!("enter the namespaces of the container"))?;
            Ok((0, cgroup))
        },
        move |channel| child::joined(plan, user, channel),
    )?;
    let start_time = process::start_time(pid).unwrap_or(0);
    let mut started = Started { pid, pidfd, start_time, terminal: None, warnings };
    let made = (|| {
        joining.cgroup.add(pid).map_err(ProcessError::Cgroup)?;
        limits::apply(pid, joining.process, &mut started.warnings)?;
        go(&ours, &[])?;
        started.terminal = executed(&ours)?;
        Ok(())
    })();
    made.inspect_err(|_| kill(&started))?;
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
    let _ = signal::send(started.pidfd.as_fd(), libc::SIGKILL);
    let _ = waitid(WaitId::PidFd(started.pidfd.as_fd()), WaitIdOptions::EXITED);
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
    let cgroup = cgroup_fd(cgroup)?;
    if plan.namespaces.joins.is_empty() && plan.namespaces.time_offsets.is_none() {
        // SAFETY: the caller has one thread; the child never returns from `child::container`.
        return match unsafe { clone3(new, cgroup.as_ref().map(AsFd::as_fd)) } {
            Ok(Cloned::Child) => child::container(plan, theirs),
            Ok(Cloned::Parent { pid, pidfd }) => Ok((pid, pidfd.expect("asked for a pidfd"))),
            Err(error) => Err(ProcessError::host("clone the container's first process", error)),
        };
    }
    let namespaces = NamespacePlan {
        joins: std::mem::take(&mut plan.namespaces.joins),
        time_offsets: plan.namespaces.time_offsets.take(),
        ..NamespacePlan::default()
    };
    staged(
        ours,
        theirs,
        move |_| enter(&namespaces).map(|()| (new, cgroup)),
        move |channel| child::container(plan, channel),
    )
}

/// Enters what can only be entered before the clone.
fn enter(plan: &NamespacePlan) -> Result<(), Failed> {
    for (namespace, flag) in &plan.joins {
        setns(namespace.as_fd(), *flag).tried(format_args!("join a namespace (flag {flag:#x})"))?;
    }
    if let Some(offsets) = &plan.time_offsets {
        unshare(NamespaceKind::Time.flag()).tried(format_args!("make a time namespace"))?;
        if !offsets.is_empty() {
            let file =
                openat(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            file.and_then(|file| rustix::io::write(&file, offsets.as_bytes()))
                .tried(format_args!("set the offsets of the clocks"))?;
        }
    }
    Ok(())
}

/// Clones a stage that enters namespaces with `enter` and then clones the process proper, which
/// runs `run`, as its own sibling: our child. `enter` gives the flags and the v2 cgroup for that.
fn staged(
    ours: &Channel,
    theirs: Channel,
    enter: impl FnOnce(&Channel) -> Result<(u64, Option<OwnedFd>), Failed>,
    run: impl FnOnce(Channel),
) -> Result<(u32, OwnedFd), ProcessError> {
    let failed = |error: io::Error| ProcessError::host("clone a process into other namespaces", error);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    // SAFETY: the caller has one thread; the child ends in this arm.
    let pidfd = match unsafe { clone3(0, None) }.map_err(failed)? {
        Cloned::Child => {
            let (flags, cgroup) = match enter(&theirs) {
                Ok(entered) => entered,
                Err(error) => child::give_up(&theirs, error),
            };
            // SAFETY: this process was forked from one with one thread; the child ends in this arm.
            match unsafe { clone3(flags | CLONE_PARENT, cgroup.as_ref().map(AsFd::as_fd)) } {
                Ok(Cloned::Child) => {
                    drop(write);
                    run(theirs);
                    exit_now(1)
                }
                Ok(Cloned::Parent { pid, .. }) => {
                    let told = rustix::io::write(&write, &pid.to_ne_bytes());
                    exit_now(i32::from(told.is_err()))
                }
                Err(error) => {
                    let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                    child::give_up(&theirs, Failed::new(errno, format_args!("clone into the namespaces")))
                }
            }
        }
        Cloned::Parent { pidfd, .. } => pidfd.expect("asked for a pidfd"),
    };
    drop((write, theirs));
    let mut pid = [0u8; 4];
    let told = io::Read::read_exact(&mut std::fs::File::from(read), &mut pid);
    waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).map_err(|error| failed(error.into()))?;
    if told.is_err() {
        return Err(match ours.hear_child().map_err(failed)? {
            FromChild::Failed(error) => child_error(&error),
            _ => ProcessError::Died,
        });
    }
    let pid = u32::from_ne_bytes(pid);
    // The process is our child and not yet waited for: its number cannot belong to another.
    let number = Pid::from_raw(pid as i32).expect("process ids are positive");
    let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(|error| failed(error.into()))?;
    Ok((pid, pidfd))
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

fn hear(channel: &Channel) -> Result<FromChild, ProcessError> {
    channel.hear_child().map_err(|error| ProcessError::host("hear the new process", error))
}

fn child_error(failed: &Failed) -> ProcessError {
    let (what, source) = (failed.text(), io::Error::from_raw_os_error(failed.errno));
    match failed.kind {
        FailedKind::Other => ProcessError::Child { what, source },
        FailedKind::ProgramNotFound => ProcessError::ProgramNotFound { what, source },
        FailedKind::ProgramNotExecutable => ProcessError::ProgramNotExecutable { what, source },
    }
}

/// The v2 cgroup's directory, where the host has only v2: the clone can begin inside it.
fn cgroup_fd(cgroup: &Cgroup) -> Result<Option<OwnedFd>, ProcessError> {
    cgroup.clone_directory().map_err(ProcessError::Cgroup)
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

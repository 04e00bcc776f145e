//! The runtime's side of starting a process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use rustix::process::{Gid, Uid};

use super::channel::Channel;
use super::making::{self, Making, Outset, Progress};
use super::plan::{ContainerPlan, JoinPlan, StdioPlan};
use super::stage::{Stage, StagePlan};
use super::{Container, Joining, ProcessError, Started, Stdio, child, hooks, idmap, prepare, ready};
use crate::cgroup::Cgroup;
use crate::spec::{Linux, NamespaceKind, Process, State, Status, VERSION};
use crate::sys::clone::{Cloned, clone3};
use crate::sys::signal;

/// Makes a container up to the point where its program would start, and waits for that.
///
/// The caller has one thread. On failure nothing of the container is left but its cgroup.
pub(crate) fn create(container: Container<'_>) -> Result<(Started, Making), ProcessError> {
    let hooks = container.spec.hooks.clone().unwrap_or_default();
    let bundle = container.bundle;
    let mut making = begin_create(container)?;
    let made = (|| {
        loop {
            match making.hear()? {
                Progress::Made => return making.take_started().ok_or(ProcessError::Died),
                Progress::Hooks => {
                    hooks::run_all(&hooks.prestart, making.state(), bundle)?;
                    hooks::run_all(&hooks.create_runtime, making.state(), bundle)?;
                    making.hooks_done()?;
                }
                Progress::Executed | Progress::Waiting => return Err(ProcessError::Died),
            }
        }
    })();
    finish(making, made)
}

/// Starts a further process in a container; returns once its program runs.
///
/// The caller has one thread.
pub(crate) fn join(joining: Joining<'_>) -> Result<Started, ProcessError> {
    let mut making = begin_join(joining)?;
    let made = making.wait_executed().and_then(|()| making.take_started().ok_or(ProcessError::Died));
    finish(making, made).map(|(started, _)| started)
}

/// Begins to make a container; what becomes of it is heard.
///
/// The caller has one thread.
pub(crate) fn begin_create(mut container: Container<'_>) -> Result<Making, ProcessError> {
    let spec = container.spec;
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    let process =
        spec.process.as_ref().ok_or_else(|| ProcessError::invalid("the configuration has no `process`"))?;
    let mut warnings = Vec::new();
    let userns = linux.namespace(NamespaceKind::User).is_some();
    let stdio = stdio_plan(std::mem::replace(&mut container.stdio, Stdio::Inherit), process);
    // Whoever joins a namespace need not say what its maps are; the kernel checks then.
    if userns && !linux.uid_mappings.is_empty() {
        let maps = idmap::Maps { users: linux.uid_mappings.clone(), groups: linux.gid_mappings.clone() };
        prepare_users(&maps, process, &stdio)?;
        if let Some((root, _)) = maps.root().filter(|_| prepare::orders_groups(spec, linux)) {
            container.cgroup.delegate(root).map_err(ProcessError::Cgroup)?;
        }
    }
    let mut plan = prepare::process(process, linux, container.filter, userns, stdio, &mut warnings)?;
    plan.die_with_parent = container.die_with_parent;
    plan.preserve_fds = container.preserve_fds;
    plan.release = container.release.take();
    plan.keyring = (!container.no_new_keyring)
        .then(|| prepare::c_string(format!("_ses.{}", container.id)))
        .transpose()?
        .map(Some);
    let mut plan = prepare::container(&mut container, plan)?;
    let limits = plan.process.limits.clone();
    let joins_others = plan.namespaces.processes().is_some();
    if joins_others {
        check_hooks(&plan)?;
        // It is the stage that its parent knows until then, in what hooks are told too.
        plan.process.awaits = true;
        ready::prepare(&mut plan.process, !plan.start_container.is_empty())?;
    }
    let wants_state =
        plan.pause_for_hooks || !plan.create_container.is_empty() || !plan.start_container.is_empty();
    let makes_users = plan.namespaces.makes_users();
    let outset = Outset {
        cgroup: container.cgroup.clone(),
        process: limits_of(process),
        limits,
        maps: makes_users.then(|| (linux.uid_mappings.clone(), linux.gid_mappings.clone())),
        state: wants_state.then(|| state_of(&container)),
    };
    let known = plan.process.known();

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let first = clone_into(plan, theirs, container.cgroup)?;
    let mut making = Making::new(ours, outset, known, warnings);
    let begun = match first {
        First::Cloned(pid, pidfd) => making.take_over(pid, pidfd),
        First::Staged(pid, pidfd) => {
            making.take_stage_over(pid, pidfd, joins_others);
            // Else it says when there are users to be mapped, or what it has cloned is what settles.
            if joins_others && !makes_users { making.settle(pid) } else { Ok(()) }
        }
    };
    finish(making, begun).map(|((), making)| making)
}

/// Begins to start a further process in a container; what becomes of it is heard.
///
/// The caller has one thread. The process is in the container's cgroup before it does anything, and
/// enters all namespaces of the container, the user namespace included: first in another process
/// that nobody inside sees, then by a clone of that one, which has no more than its program will have.
pub(crate) fn begin_join(joining: Joining<'_>) -> Result<Making, ProcessError> {
    let mut warnings = Vec::new();
    let flags = foreign_namespaces(joining.target_pid)?;
    // Asked after looking: if the number had been taken over, the process itself would be gone.
    signal::send(joining.target, 0)
        .map_err(|error| ProcessError::host("find the container's first process", error))?;
    let user = flags & NamespaceKind::User.flag() != 0;
    let stdio = stdio_plan(joining.stdio, joining.process);
    if user {
        prepare_users(&idmap::Maps::of_process(joining.target_pid)?, joining.process, &stdio)?;
    }
    let linux = Linux::default();
    let mut process = prepare::process(joining.process, &linux, joining.filter, user, stdio, &mut warnings)?;
    process.die_with_parent = joining.die_with_parent;
    process.preserve_fds = joining.preserve_fds;
    process.wait = false;
    process.awaits = process.schedule.is_some();
    // Not the container's own, which is found by its name, and names can be taken.
    process.keyring = Some(None);
    let outset = Outset {
        cgroup: joining.cgroup.clone(),
        process: limits_of(joining.process),
        limits: process.limits.clone(),
        maps: None,
        state: None,
    };
    let target = joining.target.try_clone_to_owned();
    let target = target.map_err(|error| ProcessError::host("hold the container's first process", error))?;
    ready::prepare(&mut process, false)?;
    let known = process.known();
    let plan = JoinPlan { process, target, namespaces: flags, user };

    let (ours, theirs) = Channel::pair().map_err(|error| ProcessError::host("make a channel", error))?;
    let cgroup = joining.cgroup.clone_directory_of(joining.target_pid).map_err(ProcessError::Cgroup)?;
    let (stage, pidfd) = Stage { theirs, cgroup }.begin(
        plan,
        |plan, channel| child::enter_container(plan, channel).map(|()| 0),
        |plan, channel| child::joined(plan, channel),
    )?;
    let mut making = Making::new(ours, outset, known, warnings);
    making.take_stage_over(stage, pidfd, true);
    // It is the stage that waits: what it clones is where it is and limited as it is.
    let settled = making.settle(stage);
    finish(making, settled).map(|((), making)| making)
}

impl Making {
    /// Starts the program of a container that is made; returns once it runs.
    pub(crate) fn release_and_wait(mut self) -> Result<(), ProcessError> {
        self.release()?;
        self.wait_executed()
    }

    fn wait_executed(&mut self) -> Result<(), ProcessError> {
        match self.hear()? {
            Progress::Executed => Ok(()),
            Progress::Waiting | Progress::Hooks | Progress::Made => Err(ProcessError::Died),
        }
    }
}

/// Refuses hooks that would run as processes which others in the container see.
fn check_hooks(plan: &ContainerPlan) -> Result<(), ProcessError> {
    if plan.namespaces.user && !plan.create_container.is_empty() {
        return Err(ProcessError::invalid(
            "`createContainer` hooks cannot go with a user namespace and the process namespace of others, who could take them over: use `createRuntime` hooks",
        ));
    }
    Ok(())
}

/// Kills and reaps what will not be handed to the caller, and the helper in any case.
fn finish<T>(mut making: Making, made: Result<T, ProcessError>) -> Result<(T, Making), ProcessError> {
    match made {
        Ok(made) => {
            making.take_stage().iter().for_each(making::reap);
            Ok((made, making))
        }
        Err(error) => {
            making.abandon().for_each(|pidfd| making::reap(&pidfd));
            Err(error)
        }
    }
}

/// What of a process is set from outside.
fn limits_of(process: &Process) -> Process {
    Process { rlimits: process.rlimits.clone(), oom_score_adj: process.oom_score_adj, ..Process::default() }
}

fn stdio_plan(stdio: Stdio, process: &Process) -> StdioPlan {
    match stdio {
        Stdio::Inherit => StdioPlan::Inherit,
        Stdio::Fds(fds) => StdioPlan::Fds(fds),
        Stdio::Terminal => StdioPlan::Terminal(process.console_size),
    }
}

/// Sees to it that whoever a process in a user namespace runs as is somebody, and may open its
/// streams again by name: inside nobody can give away what belongs to the host's root.
fn prepare_users(maps: &idmap::Maps, process: &Process, stdio: &StdioPlan) -> Result<(), ProcessError> {
    maps.check(process)?;
    let StdioPlan::Fds(fds) = stdio else { return Ok(()) };
    let Some((user, group)) = maps.outside(process.user.uid, process.user.gid) else { return Ok(()) };
    for fd in fds {
        let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if matches!(kind, Ok(FileType::Fifo | FileType::Socket)) {
            rustix::fs::fchown(fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
                .map_err(|error| ProcessError::host("give a stream to the container's user", error))?;
        }
    }
    Ok(())
}

/// A container's first process, or the one that will clone it.
enum First {
    Cloned(u32, OwnedFd),
    Staged(u32, OwnedFd),
}

/// Clones the first process of a container, directly if it joins nothing, else by a stage, which makes
/// all of the container if others will see the first process.
fn clone_into(mut plan: ContainerPlan, theirs: Channel, cgroup: &Cgroup) -> Result<First, ProcessError> {
    let new = plan.namespaces.new;
    let cgroup = cgroup.clone_directory().map_err(ProcessError::Cgroup)?;
    if plan.namespaces.joins.is_empty() && plan.namespaces.time_offsets.is_none() {
        plan.keep(&theirs);
        // SAFETY: the caller has one thread; the child never returns from `child::container`.
        return match unsafe { clone3(new, cgroup.as_ref().map(AsFd::as_fd)) } {
            Ok(Cloned::Child) => child::container(plan, theirs),
            Ok(Cloned::Parent { pid, pidfd }) => Ok(First::Cloned(pid, pidfd.expect("asked for a pidfd"))),
            Err(error) => Err(ProcessError::host("clone the container's first process", error)),
        };
    }
    let stage = Stage { theirs, cgroup };
    let (pid, pidfd) = if plan.namespaces.processes().is_some() {
        stage.begin(
            plan,
            |plan, channel| child::make_first(plan, channel).map(|()| 0),
            |plan, channel| child::first(plan, channel),
        )?
    } else {
        stage.begin(
            plan,
            |plan, _| child::enter_first(plan).map(|()| plan.namespaces.new),
            |plan, channel| child::container(plan, channel),
        )?
    };
    Ok(First::Staged(pid, pidfd))
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

/// The state that hooks get, but for the process.
fn state_of(container: &Container<'_>) -> State {
    State {
        oci_version: VERSION.to_owned(),
        id: container.id.to_owned(),
        status: Status::Creating,
        pid: 0,
        bundle: container.bundle.to_owned(),
        annotations: container.spec.annotations.clone(),
    }
}

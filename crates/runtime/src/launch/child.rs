//! What the new process does, until its program takes its place.
//!
//! It walks through its plan with system calls and decides nothing; it allocates no memory. What
//! fails goes to the parent as what was being tried on what, and the process ends.

mod console;
mod copy;
mod devices;
mod home;
mod hooks;
mod mounts;
mod path;
mod process;

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, Tried};
use super::plan::{ContainerPlan, JoinPlan, NamespacePlan, ProcessPlan, StdioPlan};
use crate::spec::NamespaceKind;
use crate::sys::clone::{exit_now, setns, unshare};

/// A container's first process, just cloned into its namespaces. Never returns.
pub(super) fn container(mut plan: ContainerPlan, channel: Channel) -> ! {
    let Err(failed) = container_steps(&mut plan, &channel);
    give_up(&channel, failed)
}

/// Enters the namespaces that a container's first process joins, as the process from which it is
/// cloned.
pub(super) fn enter_first(plan: &mut ContainerPlan) -> Result<(), Failed> {
    process::close_all_but(&plan.process.kept_at_birth, plan.process.preserve_fds)?;
    forbid_tracing()?;
    for (namespace, flag) in &plan.namespaces.joins {
        setns(namespace.as_fd(), *flag).tried(format_args!("join a namespace (flag {flag:#x})"))?;
    }
    if let Some(offsets) = &plan.namespaces.time_offsets {
        unshare(NamespaceKind::Time.flag()).tried(format_args!("make a time namespace"))?;
        if !offsets.is_empty() {
            let file =
                openat(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            file.and_then(|file| rustix::io::write(&file, offsets.as_bytes()))
                .tried(format_args!("set the offsets of the clocks"))?;
        }
    }
    forbid_tracing()
}

/// Enters a container, as the process from which the further process proper is cloned, and gets as
/// much done as it can where nobody inside sees it.
pub(super) fn enter_container(plan: &mut JoinPlan, channel: &Channel) -> Result<(), Failed> {
    begin(&mut plan.process, channel)?;
    // Through the host's procfs: later this process may no longer mount one of its own.
    let label = process::open_label(&plan.process)?;
    process::write_label(&plan.process, label)?;
    setns(plan.target.as_fd(), plan.namespaces)
        .tried(format_args!("enter the namespaces of the container"))?;
    if plan.user {
        become_root()?;
    }
    forbid_tracing()?;
    if let StdioPlan::Terminal(size) = plan.process.stdio {
        let root = path::open_root()?;
        console::make(root.as_fd(), size, plan.process.uid, plan.process.gid, false, channel)?;
    }
    process::settle(&mut plan.process)?;
    if plan.born_ready {
        process::assume(&mut plan.process)?;
        process::filter_early(&plan.process)?;
    }
    Ok(())
}

/// A further process of a container, already in its namespaces. Never returns.
pub(super) fn joined(mut plan: JoinPlan, channel: Channel) -> ! {
    let Err(failed) = joined_steps(&mut plan, &channel);
    give_up(&channel, failed)
}

/// Tells the parent and ends.
pub(super) fn give_up(channel: &Channel, failed: Failed) -> ! {
    // There is nobody else to tell if this fails; the exit code still says that it did not work.
    if channel.tell_parent(&FromChild::Failed(failed)).is_err() {
        let _ = rustix::io::write(rustix::stdio::stderr(), b"gantry: ");
        let _ = rustix::io::write(rustix::stdio::stderr(), failed.bytes());
        let _ = rustix::io::write(rustix::stdio::stderr(), b"\n");
    }
    exit_now(match failed.kind {
        FailedKind::ProgramNotFound => 127,
        FailedKind::ProgramNotExecutable => 126,
        FailedKind::Other => 1,
    })
}

enum Never {}

fn container_steps(plan: &mut ContainerPlan, channel: &Channel) -> Result<Never, Failed> {
    begin(&mut plan.process, channel)?;
    rustix::process::setsid().tried(format_args!("begin a session"))?;
    if plan.namespaces.user {
        become_root()?;
    }
    enter(&plan.namespaces)?;
    mounts::attach_root(&plan.root)?;
    mounts::make_all(&mut plan.mounts, plan.root.mount.as_fd())?;
    let root = plan.root.mount.as_fd();
    devices::make(&plan.devices, &plan.links, root)?;
    for (name, value) in &plan.sysctls {
        mounts::set_sysctl(name, value)?;
    }
    if let StdioPlan::Terminal(size) = plan.process.stdio {
        console::make(root, size, plan.process.uid, plan.process.gid, true, channel)?;
        console::control()?;
    }
    let label = process::open_label(&plan.process)?;
    mounts::mask(&plan.masked, root, plan.null.as_fd())?;
    mounts::make_readonly(&plan.readonly, root)?;
    mounts::seal(&plan.mounts)?;
    if plan.pause_for_hooks {
        channel.tell_parent(&FromChild::Hooks).tried(format_args!("ask for the runtime's hooks"))?;
        hear(channel, FromParent::HooksDone, &mut [])?;
    }
    hooks::run_all(&plan.create_container, &plan.process.state)?;
    mounts::make_cwd(&plan.process.cwd, root)?;
    mounts::pivot(&plan.root)?;
    process::run(&mut plan.process, &plan.start_container, label, channel)
}

/// What a process that joins does where it can be seen inside: with `born_ready`, nothing that its
/// program could not do.
fn joined_steps(plan: &mut JoinPlan, channel: &Channel) -> Result<Never, Failed> {
    if plan.process.die_with_parent {
        die_with_parent()?;
    }
    rustix::process::setsid().tried(format_args!("begin a session"))?;
    if matches!(plan.process.stdio, StdioPlan::Terminal(_)) {
        console::control()?;
    }
    if !plan.born_ready {
        process::assume(&mut plan.process)?;
    }
    process::execute(&plan.process, !plan.born_ready, channel)
}

/// Lets go of what is not this process's, then waits for the parent.
fn begin(plan: &mut ProcessPlan, channel: &Channel) -> Result<(), Failed> {
    process::close_all_but(&plan.kept_at_birth, plan.preserve_fds)?;
    forbid_tracing()?;
    if plan.die_with_parent {
        die_with_parent()?;
    }
    rustix::process::umask(Mode::empty());
    let length = hear(channel, FromParent::Go, &mut plan.state)?;
    plan.state.truncate(length);
    Ok(())
}

/// Becomes root of the user namespace that this process is in.
fn become_root() -> Result<(), Failed> {
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
        .and_then(|()| rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
        .tried(format_args!("become root of the user namespace"))?;
    forbid_tracing()
}

fn forbid_tracing() -> Result<(), Failed> {
    crate::sys::process::forbid_tracing().tried(format_args!("keep this process from being traced"))
}

/// Finishes the namespaces that are not done by the clone alone.
fn enter(plan: &NamespacePlan) -> Result<(), Failed> {
    if plan.new_cgroup {
        unshare(NamespaceKind::Cgroup.flag()).tried(format_args!("make a cgroup namespace"))?;
    }
    if plan.loopback {
        crate::sys::network::loopback_up().tried(format_args!("set the loopback interface up"))?;
    }
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).tried(format_args!("set host name `{name}`"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).tried(format_args!("set domain name `{name}`"))?;
    }
    Ok(())
}

fn die_with_parent() -> Result<(), Failed> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .tried(format_args!("tie this process to its parent"))
}

/// Waits for `expected`; ends quietly if the parent has gone.
fn hear(channel: &Channel, expected: FromParent, state: &mut [u8]) -> Result<usize, Failed> {
    match channel.hear_parent(state).tried(format_args!("wait for the runtime"))? {
        Some((message, length)) if message == expected => Ok(length),
        Some(_) => Err(Failed::new(Errno::PROTO, format_args!("understand the runtime"))),
        None => exit_now(1),
    }
}

/// Whether a descriptor is on the file system with this magic number.
fn is_on(fd: BorrowedFd<'_>, magic: u64) -> Result<bool, Errno> {
    Ok(rustix::fs::fstatfs(fd)?.f_type as u64 == magic)
}

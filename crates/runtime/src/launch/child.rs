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

use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, Tried};
use super::plan::{ContainerPlan, NamespacePlan, ProcessPlan, StdioPlan};
use crate::spec::NamespaceKind;
use crate::sys::clone::{exit_now, unshare};

/// A container's first process, just cloned into its namespaces. Never returns.
pub(super) fn container(mut plan: ContainerPlan, channel: Channel) -> ! {
    let Err(failed) = container_steps(&mut plan, &channel);
    give_up(&channel, failed)
}

/// A further process of a container, already in its namespaces. Never returns.
pub(super) fn joined(mut plan: ProcessPlan, user: bool, channel: Channel) -> ! {
    let Err(failed) = joined_steps(&mut plan, user, &channel);
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
    begin(&mut plan.process, plan.namespaces.user, channel)?;
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
    }
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
    process::run(&mut plan.process, &plan.start_container, channel)
}

fn joined_steps(plan: &mut ProcessPlan, user: bool, channel: &Channel) -> Result<Never, Failed> {
    begin(plan, user, channel)?;
    if let StdioPlan::Terminal(size) = plan.stdio {
        let root = path::open_root()?;
        console::make(root.as_fd(), size, plan.uid, plan.gid, false, channel)?;
    }
    process::run(plan, &[], channel)
}

/// Waits for the parent, then leaves its session and, in a user namespace, becomes its root.
fn begin(plan: &mut ProcessPlan, user: bool, channel: &Channel) -> Result<(), Failed> {
    if plan.die_with_parent {
        die_with_parent()?;
    }
    rustix::process::umask(rustix::fs::Mode::empty());
    let length = hear(channel, FromParent::Go, &mut plan.state)?;
    plan.state.truncate(length);
    rustix::process::setsid().tried(format_args!("begin a session"))?;
    if user {
        rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)
            .and_then(|()| rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
            .tried(format_args!("become root of the user namespace"))?;
    }
    Ok(())
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

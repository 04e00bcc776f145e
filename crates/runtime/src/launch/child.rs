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
mod procfs;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Signal, Uid};

use super::channel::{Channel, Failed, FailedKind, FromChild, FromParent, MESSAGE, Tried};
use super::plan::{ContainerPlan, HookPlan, JoinPlan, NamespacePlan, ProcessPlan, StdioPlan};
use crate::spec::NamespaceKind;
use crate::sys::clone::{exit_now, setns, unshare};

pub(crate) use procfs::ask_from_inside as ask_for_procfs_from_inside;

/// A container's first process, just cloned into its namespaces, where it is alone. Never returns.
pub(super) fn container(mut plan: ContainerPlan, channel: Channel) -> ! {
    let Err(failed) = container_steps(&mut plan, &channel);
    give_up(&channel, failed)
}

/// Enters the namespaces that a container's first process joins, as the process from which it is
/// cloned.
pub(super) fn enter_first(plan: &ContainerPlan) -> Result<(), Failed> {
    process::close_all_but(&plan.process.kept_at_birth, plan.process.preserve_fds)?;
    forbid_tracing()?;
    join(&plan.namespaces, |_| true)?;
    make_clocks(&plan.namespaces)?;
    forbid_tracing()
}

/// Makes a container whose first process will join a process namespace in which others live, as the
/// process from which it is cloned, which those others do not see: all but the program.
///
/// A hook that the container's owner runs before the root is changed has all rights over the host, and
/// is not seen either: its processes are in the runtime's own process namespace.
pub(super) fn make_first(plan: &mut ContainerPlan, channel: &Channel) -> Result<(), Failed> {
    let_go(&plan.process)?;
    // Where there are users to be mapped, they must be there first.
    if !plan.namespaces.makes_users() {
        hear_go(&mut plan.process, channel)?;
    }
    // What is done with procfs, while this process has every right over its namespaces.
    let procfs = own_procfs(plan)?;
    procfs::make_all(&plan.namespaces, &mut plan.mounts)?;
    let processes = |flag| flag == NamespaceKind::Pid.flag();
    // Root of another user namespace may not enter what belongs to the host's.
    let at_once = plan.namespaces.user;
    join(&plan.namespaces, |flag| at_once || !processes(flag))?;
    make_clocks(&plan.namespaces)?;
    if plan.namespaces.new != 0 {
        unshare(plan.namespaces.new).tried(format_args!("make the container's namespaces"))?;
    }
    forbid_tracing()?;
    if plan.namespaces.makes_users() {
        channel.tell_parent(&FromChild::Entered).tried(format_args!("ask for users"))?;
        hear_go(&mut plan.process, channel)?;
    }
    let label = surround(plan, procfs, channel)?;
    join(&plan.namespaces, |flag| !at_once && processes(flag))?;
    process::write_label(&plan.process, label)?;
    make_ready(&mut plan.process)
}

/// A container's first process, cloned from what [`make_first`] has made. Never returns.
pub(super) fn first(mut plan: ContainerPlan, channel: Channel) -> ! {
    let Err(failed) = ready_steps(&mut plan.process, &plan.start_container, &channel);
    give_up(&channel, failed)
}

/// Enters a container, as the process from which the further process proper is cloned, and gets all done
/// but the program where nobody inside sees it.
pub(super) fn enter_container(plan: &mut JoinPlan, channel: &Channel) -> Result<(), Failed> {
    let_go(&plan.process)?;
    hear_go(&mut plan.process, channel)?;
    // Through the host's procfs: later this process may no longer mount one of its own.
    let procfs = plan.process.label.as_ref().map(|_| mounts::own_procfs()).transpose()?;
    let label = process::open_label(&plan.process, procfs.as_ref())?;
    // Before all that is open is closed by its number.
    drop(procfs);
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
    make_ready(&mut plan.process)
}

/// A further process of a container, cloned from one that is ready in its namespaces. Never returns.
pub(super) fn joined(mut plan: JoinPlan, channel: Channel) -> ! {
    let Err(failed) = ready_steps(&mut plan.process, &[], &channel);
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
    let_go(&plan.process)?;
    hear_go(&mut plan.process, channel)?;
    rustix::process::setsid().tried(format_args!("begin a session"))?;
    let label = surround(plan, None, channel)?;
    if matches!(plan.process.stdio, StdioPlan::Terminal(_)) {
        console::control()?;
    }
    process::run(&mut plan.process, &plan.start_container, label, channel)
}

/// Makes everything that is around a container's program, and leaves the host's tree for it. Gives the
/// file that takes the security label, where there is one. Takes `procfs` where this process could not
/// make one now.
fn surround(
    plan: &mut ContainerPlan,
    procfs: Option<OwnedFd>,
    channel: &Channel,
) -> Result<Option<OwnedFd>, Failed> {
    if plan.namespaces.user {
        become_root()?;
    }
    enter(&plan.namespaces)?;
    mounts::attach_root(&plan.root)?;
    mounts::make_all(&mut plan.mounts, plan.root.mount.as_fd())?;
    let root = plan.root.mount.as_fd();
    devices::make(&plan.devices, &plan.links, root)?;
    let procfs = if procfs.is_some() { procfs } else { own_procfs(plan)? };
    for (name, value) in &plan.sysctls {
        let procfs = procfs.as_ref().expect("it is there where there are kernel parameters");
        mounts::set_sysctl(name, value, procfs)?;
    }
    if let StdioPlan::Terminal(size) = plan.process.stdio {
        console::make(root, size, plan.process.uid, plan.process.gid, true, channel)?;
    }
    let label = process::open_label(&plan.process, procfs.as_ref())?;
    drop(procfs);
    mounts::mask(&plan.masked, root, plan.null.as_fd())?;
    mounts::make_readonly(&plan.readonly, root)?;
    mounts::seal(&plan.mounts)?;
    if plan.pause_for_hooks {
        channel.tell_parent(&FromChild::Hooks).tried(format_args!("ask for the runtime's hooks"))?;
        hear(channel, FromParent::HooksDone, &mut [0])?;
    }
    hooks::run_all(&plan.create_container, &plan.process.state)?;
    mounts::make_cwd(&plan.process.cwd, root)?;
    mounts::pivot(&plan.root)?;
    Ok(label)
}

/// A procfs for what is done through one.
fn own_procfs(plan: &ContainerPlan) -> Result<Option<OwnedFd>, Failed> {
    let is_needed = !plan.sysctls.is_empty() || plan.process.label.is_some();
    is_needed.then(mounts::own_procfs).transpose()
}

/// Becomes what the program is to be, in the stage that clones its process.
fn make_ready(plan: &mut ProcessPlan) -> Result<(), Failed> {
    process::settle(plan)?;
    process::assume(plan)?;
    process::confine_early(plan)
}

/// What a process does where others see it from its first moment: nothing that its program could not do.
fn ready_steps(plan: &mut ProcessPlan, start_hooks: &[HookPlan], channel: &Channel) -> Result<Never, Failed> {
    if plan.die_with_parent {
        die_with_parent()?;
    }
    rustix::process::setsid().tried(format_args!("begin a session"))?;
    if matches!(plan.stdio, StdioPlan::Terminal(_)) {
        console::control()?;
    }
    if plan.awaits {
        hear_go(plan, channel)?;
    }
    process::become_program(plan, start_hooks, channel)
}

/// Lets go of what is not this process's.
fn let_go(plan: &ProcessPlan) -> Result<(), Failed> {
    process::close_all_but(&plan.kept_at_birth, plan.preserve_fds)?;
    forbid_tracing()?;
    if plan.die_with_parent {
        die_with_parent()?;
    }
    rustix::process::umask(Mode::empty());
    Ok(())
}

/// Waits for the parent, and takes what it says of the container.
fn hear_go(plan: &mut ProcessPlan, channel: &Channel) -> Result<(), Failed> {
    // It had this length before.
    plan.state.resize(MESSAGE + 1, 0);
    let length = hear(channel, FromParent::Go, &mut plan.state)?;
    plan.state.truncate(length);
    Ok(())
}

/// Enters those of the namespaces that are joined whose flag is wanted, in their order.
fn join(plan: &NamespacePlan, is_wanted: impl Fn(u64) -> bool) -> Result<(), Failed> {
    for (namespace, flag) in plan.joins.iter().filter(|(_, flag)| is_wanted(*flag)) {
        setns(namespace.as_fd(), *flag).tried(format_args!("join a namespace (flag {flag:#x})"))?;
    }
    Ok(())
}

/// Makes a time namespace for the processes that are cloned from this one.
fn make_clocks(plan: &NamespacePlan) -> Result<(), Failed> {
    let Some(offsets) = &plan.time_offsets else { return Ok(()) };
    unshare(NamespaceKind::Time.flag()).tried(format_args!("make a time namespace"))?;
    if offsets.is_empty() {
        return Ok(());
    }
    let file = openat(CWD, c"/proc/self/timens_offsets", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
    file.and_then(|file| rustix::io::write(&file, offsets.as_bytes()))
        .map(drop)
        .tried(format_args!("set the offsets of the clocks"))
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

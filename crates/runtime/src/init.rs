//! Process 1 of a process namespace that several containers share: reaps orphans, does nothing else.
//!
//! Who is in there with `CAP_SYS_PTRACE` can look into process 1, trace it and act as it: the kernel
//! has no way to forbid that. So there is nothing to be gained from it: it has an empty root that
//! cannot be written to, no descriptors, no user and no capabilities, and a filter that lets it
//! reap, wait and end. Others cannot even look.
//!
//! It is a fork of its shim, without a program of its own, and so has no moment at which it is more
//! than that. It is killed with its shim. Asked to end, which happens when the machine goes down, it
//! does so as soon as it is alone: ending earlier would kill everybody in the namespace.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags,
    fsconfig_create, fsconfig_set_flag, fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    Gid, Pid, PidfdFlags, Signal, Uid, WaitId, WaitIdOptions, WaitOptions, pidfd_open, wait, waitid,
};
use rustix::thread::CapabilitySet;

use crate::seccomp::{self, Filter};
use crate::spec::{NamespaceKind, Seccomp, SeccompAction, SeccompRule};
use crate::sys::clone::{Cloned, clone_sibling, clone3, exit_now, setns};
use crate::sys::exec::close_all_but;
use crate::sys::{process, signal};

/// A user and group that own nothing.
const NOBODY: u32 = 65534;

/// How often somebody who was asked to end looks whether he is alone.
const LOOK: Duration = Duration::from_millis(100);

/// All that it ever does again once it is enclosed.
const CALLS: [&str; 9] = [
    "wait4",
    "rt_sigtimedwait",
    "kill",
    "write",
    "close",
    "exit_group",
    "rt_sigreturn",
    "restart_syscall",
    "sigaltstack",
];

/// What could not be done, and why.
type Failed = (&'static str, io::Error);

/// The program `gantry init`: the same as a program of its own, for who wants one. Goes on until it is
/// asked to end and alone.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    if args.into_iter().next().is_some() || std::process::id() != 1 {
        eprintln!("gantry init: is for process 1 of a process namespace");
        return ExitCode::from(2);
    }
    signal::block_all();
    serve()
}

/// Starts process 1 of a new process namespace, called `title`, in the user namespace `users` where the
/// sandbox has one; returns when it is enclosed.
///
/// The caller has one thread.
pub(crate) fn start(title: &str, users: Option<&OwnedFd>) -> Result<(u32, OwnedFd), Failed> {
    let filter = filter().map_err(|error| ("compile the filter of process 1", io::Error::other(error)))?;
    let (heard, told) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| ("make a pipe", error.into()))?;
    let flags = NamespaceKind::Pid.flag() | NamespaceKind::Mount.flag();
    let failed = |error| ("make a process namespace", error);
    let (pid, pidfd) = match users {
        // SAFETY: this program has one thread; the child never returns from this arm.
        None => match unsafe { clone3(flags, None) }.map_err(failed)? {
            Cloned::Child => become_first(title, &filter, told.try_clone()),
            Cloned::Parent { pid, pidfd } => (pid, pidfd.expect("asked for a pidfd")),
        },
        Some(users) => {
            clone_in(users, flags, || become_first(title, &filter, told.try_clone())).map_err(failed)?
        }
    };
    drop(told);
    let mut text = String::new();
    let read = std::fs::File::from(heard).read_to_string(&mut text);
    match (read, text.as_str()) {
        (Ok(_), "1") => Ok((pid, pidfd)),
        (Ok(_), "") => Err(("enclose process 1", io::ErrorKind::UnexpectedEof.into())),
        (Ok(_), _) => Err(("enclose process 1", io::Error::other(text))),
        (Err(error), _) => Err(("hear process 1", error)),
    }
}

/// Clones a sibling of a process that is in the user namespace `users`: a child of this one, with new
/// namespaces of the kinds in `flags` that `users` owns. It does `run`.
fn clone_in(users: &OwnedFd, flags: u64, run: impl FnOnce()) -> io::Result<(u32, OwnedFd)> {
    let (heard, told) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this program has one thread; the child never returns from this arm.
    match unsafe { clone3(0, None) }? {
        Cloned::Child => {
            let entered =
                setns(users.as_fd(), NamespaceKind::User.flag()).and_then(|()| process::forbid_tracing());
            // SAFETY: this process was forked from one with one thread; the sibling never returns from
            // its arm.
            match entered.and_then(|()| unsafe { clone_sibling(flags) }) {
                Ok(None) => {
                    run();
                    exit_now(1)
                }
                Ok(Some(pid)) => {
                    let written = std::fs::File::from(told).write_all(&pid.to_ne_bytes());
                    exit_now(i32::from(written.is_err()))
                }
                Err(error) => exit_now(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
        Cloned::Parent { pidfd, .. } => {
            drop(told);
            let mut pid = [0; 4];
            let read = std::fs::File::from(heard).read_exact(&mut pid);
            let pidfd = pidfd.expect("asked for a pidfd");
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            if read.is_err() {
                let error = status.and_then(|status| status.exit_status()).filter(|&error| error > 0);
                return Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO)));
            }
            let pid = u32::from_ne_bytes(pid);
            // Our child, and not yet waited for: its number cannot belong to another.
            let number = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
            Ok((pid, pidfd_open(number, PidfdFlags::empty())?))
        }
    }
}

/// Becomes process 1, after telling whether that worked.
fn become_first(title: &str, filter: &Filter, told: io::Result<OwnedFd>) -> ! {
    let Ok(told) = told else { exit_now(1) };
    let mut told = std::fs::File::from(told);
    match enclose(title, filter, &told) {
        Ok(()) => {
            // A shim that has gone meanwhile leaves nobody to reap for.
            if told.write_all(b"1").is_err() {
                exit_now(1);
            }
            drop(told);
            serve()
        }
        Err((what, error)) => {
            let _ = write!(told, "{what}: {error}");
            exit_now(1)
        }
    }
}

/// Gives up everything but `told`.
fn enclose(title: &str, filter: &Filter, told: &impl AsFd) -> Result<(), Failed> {
    fn tried<T>(what: &'static str, result: Result<T, impl Into<io::Error>>) -> Result<T, Failed> {
        result.map_err(|error| (what, error.into()))
    }
    tried("name it", process::set_title(title))?;
    let last = crate::capability::last();
    tried("enter an empty root", enter_empty_root())?;
    // SAFETY: this process is a copy that uses nothing of what it was copied from, drops nothing and
    // keeps the one descriptor that it does use.
    tried("close the shim's descriptors", unsafe { close_all_but(0, &[told.as_fd().as_raw_fd()]) })?;
    for number in 0..=last {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        let dropped = rustix::thread::remove_capability_from_bounding_set(capability);
        tried("drop a capability", dropped)?;
    }
    tried("leave the groups", rustix::thread::set_thread_groups(&[]))?;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    tried("become nobody", rustix::thread::set_thread_res_gid(gid, gid, gid))?;
    tried("become nobody", rustix::thread::set_thread_res_uid(uid, uid, uid))?;
    tried("forbid new privileges", rustix::thread::set_no_new_privs(true))?;
    // Both are undone by becoming another user.
    tried("keep it from being traced", process::forbid_tracing())?;
    tried("tie it to its shim", rustix::process::set_parent_process_death_signal(Some(Signal::KILL)))?;
    signal::block_all();
    tried("load its filter", crate::sys::seccomp::load(&filter.instructions, filter.flags))
}

/// Makes an empty directory that cannot be written to all that this process can see.
pub(crate) fn enter_empty_root() -> Result<(), Errno> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let kind = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&kind, "ro")?;
    fsconfig_create(&kind)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(&kind, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    // Any directory of the host will do: the host does not see it.
    move_mount(&root, "", CWD, "/proc", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

fn filter() -> Result<Filter, seccomp::CompileError> {
    let allowed = SeccompRule {
        names: CALLS.map(str::to_owned).into(),
        action: SeccompAction::Allow,
        errno_ret: None,
        args: Vec::new(),
    };
    seccomp::compile(&Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        syscalls: vec![allowed],
    })
}

/// Reaps whoever ends, until it is asked to end and alone.
fn serve() -> ! {
    let mut ending = false;
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if ending && is_alone() {
            exit_now(0);
        }
        let signal = signal::wait_for(&[libc::SIGCHLD, libc::SIGTERM], ending.then_some(LOOK));
        ending |= signal == Some(libc::SIGTERM);
    }
}

/// Whether there is no other process in the namespace.
fn is_alone() -> bool {
    // SAFETY: takes numbers only, and signal 0 is none: it asks whether there is anybody.
    unsafe { libc::kill(-1, 0) != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) }
}

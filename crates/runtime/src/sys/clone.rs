//! `clone3(2)`, the way every process here begins.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const CLONE_PIDFD: u64 = 0x1000;
pub(crate) const CLONE_PARENT: u64 = 0x8000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of the fork this is.
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The child, as the caller's process namespace counts.
        pid: u32,
        /// The child for good.
        pidfd: Option<OwnedFd>,
    },
}

/// The kernel's `struct clone_args`.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with the namespaces of `flags`, into `cgroup` (v2) if there is one.
///
/// # Safety
/// The calling process has one thread, so that no lock is held by a thread that the child lacks.
/// The child must not return to code that believes to be the parent.
pub(crate) unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    let mut pidfd: i32 = -1;
    let mut args = CloneArgs {
        flags: flags | CLONE_PIDFD,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments are a whole `clone_args` and live through the call; no stack is given,
    // so the child goes on with a copy of this one, as after fork.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
            let pidfd = (pidfd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
            Ok(Cloned::Parent { pid: u32::try_from(pid).expect("process ids are positive"), pidfd })
        }
    }
}

/// Forks; gives the child for good, or nothing in the child.
///
/// By `clone(2)`, as [`clone_sibling`].
///
/// # Safety
/// As for [`clone3`].
pub(crate) unsafe fn fork() -> io::Result<Option<OwnedFd>> {
    let mut pidfd: i32 = -1;
    let flags = CLONE_PIDFD | libc::SIGCHLD as u64;
    // SAFETY: no stack is given, so the child goes on with a copy of this one, as after fork; the
    // kernel writes the number of a descriptor, whose place lives through the call. The rest is the
    // caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, &raw mut pidfd, 0usize, 0usize) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        // SAFETY: the kernel has just opened this descriptor for us, and nobody else knows it.
        _ => Ok(Some(unsafe { OwnedFd::from_raw_fd(pidfd) })),
    }
}

/// Forks a sibling, a child of this process's parent, with the namespaces of `flags`; gives its
/// number as this process's namespace counts, or nothing in the sibling.
///
/// By `clone(2)`, which system call filters can look into and therefore let through.
///
/// # Safety
/// As for [`clone3`].
pub(crate) unsafe fn clone_sibling(flags: u64) -> io::Result<Option<u32>> {
    // SAFETY: no stack is given, so the sibling goes on with a copy of this one, as after fork; no
    // flag asks the kernel to write anywhere. The rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_clone, flags | CLONE_PARENT, 0usize, 0usize, 0usize, 0usize) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(u32::try_from(pid).expect("process ids are positive"))),
    }
}

/// Ends the process at once, without running anything else.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process; no memory is touched afterwards.
    unsafe { libc::_exit(code) }
}

/// Enters the namespaces `flags` of the process behind `pidfd`, or the one namespace behind `fd`.
pub(crate) fn setns(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    let flags = i32::try_from(flags).expect("namespace flags fit in 32 bits");
    // SAFETY: takes a descriptor and numbers only.
    if unsafe { libc::setns(fd.as_raw_fd(), flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Leaves the present namespaces of the kinds in `flags` for new ones.
pub(crate) fn unshare(flags: u64) -> io::Result<()> {
    let flags = i32::try_from(flags).expect("namespace flags fit in 32 bits");
    // SAFETY: takes numbers only; none of the flags concerns memory or descriptors.
    if unsafe { libc::unshare(flags) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

//! The container's procfs, where it is that of a process namespace which this process is not in.
//!
//! A procfs shows the process namespace of whoever asks for it. Since 6.17 one can ask for another; with
//! older kernels somebody has to ask from inside, where others see it and may take it over. So it is
//! somebody who has nothing: nobody's user, an empty root, a user namespace of its own, which is what it
//! takes to ask, and one socket. It only opens the context of a mount; the mount is made here.
//!
//! ```text
//!   stage            keeper, outside                asker, inside
//!   clone3 ────────▶ empty root, nobody,
//!                    user namespace
//!                    clone3 ──────────────────────▶ fsopen
//!     ◀──────────────────────────────── the context, exit
//!                    waits, or kills it
//!     ◀───────── exit
//!   is it what was asked for?
//! ```
//!
//! Who has taken the asker over can send anything. Nothing is done with what comes before it is known to
//! be the context of a procfs: the kernel would look for what is mounted with this process's rights.

use std::ffi::CString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, fstat, statat};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{FsOpenFlags, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsopen};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::{Gid, Signal, Uid, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use rustix::thread::{CapabilitySet, CapabilitySets};
use rustix::time::Timespec;

use super::super::channel::{Failed, Tried};
use super::super::plan::{MountPlan, MountSource, NamespacePlan};
use super::{is_on, mounts};
use crate::init::enter_empty_root;
use crate::spec::NamespaceKind;
use crate::sys::clone::{Cloned, clone3, exit_now, setns, unshare};
use crate::sys::{exec, process};

/// A user and group that own nothing.
const NOBODY: u32 = 65534;

/// How long the asker may take: who has taken it over must not hold the container up.
const LIMIT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// What comes with a context, and what with the reason that there is none.
const CONTEXT: u8 = b'C';
const REASON: u8 = b'F';

/// Whether to do as on kernels that show nobody another process namespace.
static FROM_INSIDE: AtomicBool = AtomicBool::new(false);

/// For tests: lets this program do as it does on kernels before 6.17.
pub(crate) fn ask_from_inside() {
    FROM_INSIDE.store(true, Ordering::Relaxed);
}

/// Makes those of the mounts that show the process namespace which is joined.
pub(super) fn make_all(namespaces: &NamespacePlan, mounts: &mut [MountPlan]) -> Result<(), Failed> {
    let Some(namespace) = namespaces.processes() else { return Ok(()) };
    for mount in mounts {
        if let MountSource::Filesystem { kind, options, attributes } = &mount.source
            && kind.as_c_str() == c"proc"
        {
            let made = make(namespace.as_fd(), options, *attributes)?;
            mount.source = MountSource::Tree(made);
        }
    }
    Ok(())
}

/// A procfs that shows `namespace`, attached nowhere.
fn make(
    namespace: BorrowedFd<'_>,
    options: &[(CString, Option<CString>)],
    attributes: u64,
) -> Result<OwnedFd, Failed> {
    let context = match named(namespace).tried(format_args!("ask for a procfs"))? {
        Some(context) => context,
        None => asked_for(namespace)?,
    };
    let made = mounts::of_context(&context, options, attributes).tried(format_args!("make a procfs"))?;
    drop(context);
    let is_right = is_on(made.as_fd(), mounts::PROC_MAGIC).and_then(|is_proc| {
        let (first, wanted) = (statat(&made, c"1/ns/pid", AtFlags::empty())?, fstat(namespace)?);
        Ok(is_proc && (first.st_dev, first.st_ino) == (wanted.st_dev, wanted.st_ino))
    });
    if is_right.tried(format_args!("look at the new procfs"))? {
        return Ok(made);
    }
    Err(Failed::new(Errno::PERM, format_args!("verify the procfs of the process namespace")))
}

/// Asks for another's procfs by name; `None` where the kernel does not let anybody.
fn named(namespace: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    if FROM_INSIDE.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    match fsconfig_set_fd(&context, c"pidns", namespace) {
        Ok(()) => Ok(Some(context)),
        Err(Errno::INVAL) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has somebody ask from inside.
fn asked_for(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Failed> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .tried(format_args!("make a channel to who asks for a procfs"))?;
    // SAFETY: this process has one thread; the child ends in this arm.
    let cloned = unsafe { clone3(0, None) }.tried(format_args!("clone who asks for a procfs"))?;
    let keeper = match cloned {
        Cloned::Child => {
            if let Err((step, error)) = keep(namespace, &theirs) {
                let [a, b, c, d] = error.raw_os_error().to_ne_bytes();
                let _ = send(&theirs, &[REASON, step as u8, a, b, c, d], SendFlags::NOSIGNAL);
            }
            exit_now(0)
        }
        Cloned::Parent { pidfd, .. } => pidfd.expect("asked for a pidfd"),
    };
    drop(theirs);
    waitid(WaitId::PidFd(keeper.as_fd()), WaitIdOptions::EXITED)
        .tried(format_args!("wait for who asks for a procfs"))?;
    let context = receive(&ours)?;
    // A word that a procfs does not know, which some that know every word would take; and one that no
    // other file system knows.
    let is_proc = fsconfig_set_flag(&context, c"gantry") == Err(Errno::INVAL)
        && fsconfig_set_string(&context, c"hidepid", c"0") == Ok(());
    if is_proc {
        return Ok(context);
    }
    Err(Failed::new(Errno::PERM, format_args!("verify what came in place of a procfs")))
}

/// What the keeper or the asker has sent.
fn receive(socket: &OwnedFd) -> Result<OwnedFd, Failed> {
    let mut bytes = [0u8; 6];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = retry_on_intr(|| recvmsg(socket, &mut parts, &mut control, flags));
    let count = received.map_or(0, |received| received.bytes);
    let context = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (&bytes[..count], context) {
        ([CONTEXT], Some(context)) => Ok(context),
        ([REASON, step, error @ ..], None) if error.len() == 4 => {
            let number = i32::from_ne_bytes([error[0], error[1], error[2], error[3]]);
            // Who has taken the asker over may have sent anything, which is no number of an error.
            let is_error = (1..4096).contains(&number);
            let error = if is_error { Errno::from_raw_os_error(number) } else { Errno::PROTO };
            Err(if *step == Step::Users as u8 {
                Failed::new(
                    error,
                    format_args!(
                        "share a process namespace: before Linux 6.17 this takes user namespaces, which this host does not allow: raise user.max_user_namespaces, or use a later kernel"
                    ),
                )
            } else {
                Failed::new(error, format_args!("ask for the procfs of a process namespace (step {step})"))
            })
        }
        _ => Err(Failed::new(
            Errno::PROTO,
            format_args!("ask for the procfs of a process namespace, in which somebody interfered"),
        )),
    }
}

/// What a keeper does before there is an asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Root = 1,
    Enter = 2,
    Close = 3,
    User = 4,
    Users = 5,
    Rights = 6,
    Ask = 7,
}

/// Becomes somebody who has nothing, clones the asker as such, and sees to its end.
fn keep(namespace: BorrowedFd<'_>, socket: &OwnedFd) -> Result<(), (Step, Errno)> {
    fn tried<T>(step: Step, result: Result<T, std::io::Error>) -> Result<T, (Step, Errno)> {
        result.map_err(|error| (step, Errno::from_io_error(&error).unwrap_or(Errno::IO)))
    }
    let die = || rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    die().map_err(|error| (Step::Root, error))?;
    tried(Step::Root, unshare(NamespaceKind::Mount.flag()))?;
    enter_empty_root().map_err(|error| (Step::Root, error))?;
    tried(Step::Enter, setns(namespace, NamespaceKind::Pid.flag()))?;
    // SAFETY: this process drops nothing and uses none of those that are closed.
    tried(Step::Close, unsafe { exec::close_all_but(0, &[socket.as_raw_fd()]) })?;
    become_nobody().map_err(|error| (Step::User, error))?;
    tried(Step::Users, unshare(NamespaceKind::User.flag() | NamespaceKind::Mount.flag()))?;
    // What it takes to ask, over nothing but what was made here.
    set_capabilities(CapabilitySet::SYS_ADMIN).map_err(|error| (Step::Rights, error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| (Step::Rights, error))?;
    tried(Step::Rights, process::forbid_tracing())?;
    die().map_err(|error| (Step::Rights, error))?;
    // SAFETY: this process has one thread; the child ends in this arm.
    let asker = match tried(Step::Ask, unsafe { clone3(0, None) })? {
        Cloned::Child => {
            let asked =
                fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| hand_out(&context, socket));
            exit_now(i32::from(asked.is_err()))
        }
        Cloned::Parent { pidfd, .. } => pidfd.expect("asked for a pidfd"),
    };
    let ended = retry_on_intr(|| poll(&mut [PollFd::new(&asker, PollFlags::IN)], Some(&LIMIT)));
    if ended != Ok(1) {
        let killed = pidfd_send_signal(&asker, Signal::KILL);
        killed.map_err(|error| (Step::Ask, error))?;
    }
    waitid(WaitId::PidFd(asker.as_fd()), WaitIdOptions::EXITED).map(drop).map_err(|error| (Step::Ask, error))
}

/// Becomes a user that nobody in the namespace is, but for one right: some hosts let only who has it make
/// a user namespace.
fn become_nobody() -> Result<(), Errno> {
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&[])?;
    let (gid, uid) = (Gid::from_raw(NOBODY), Uid::from_raw(NOBODY));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    process::forbid_tracing().map_err(|_| Errno::PERM)?;
    set_capabilities(CapabilitySet::SYS_ADMIN)
}

fn set_capabilities(kept: CapabilitySet) -> Result<(), Errno> {
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}

fn hand_out(context: &OwnedFd, socket: &OwnedFd) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [context.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(&[CONTEXT])], &mut control, SendFlags::NOSIGNAL).map(drop)
}

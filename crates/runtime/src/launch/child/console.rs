//! The container's terminal.
//!
//! It is made in the container's own devpts. The inner side is asked for through the outer one
//! (`TIOCGPTPEER`), never by a path that the container could have changed, and is mounted on
//! `/dev/console` by descriptor (CVE-2025-52565).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::{Gid, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::Winsize;

use super::super::channel::{Channel, Failed, FromChild, Tried};
use super::{is_on, mounts, path};
use crate::spec::ConsoleSize;

const DEVPTS_MAGIC: u64 = 0x1cd1;

/// Makes a terminal, gives its outer side to the parent and makes the inner one this process's
/// standard streams and, if `mount`, the container's `/dev/console`. It does not control this
/// process yet.
pub(super) fn make(
    root: BorrowedFd<'_>,
    size: Option<ConsoleSize>,
    uid: u32,
    gid: u32,
    mount: bool,
    channel: &Channel,
) -> Result<(), Failed> {
    let outer = path::open_in(root, c"dev/pts/ptmx", OFlags::RDWR | OFlags::NOCTTY, true)
        .tried(format_args!("open `/dev/pts/ptmx` for a terminal"))?;
    if !is_on(outer.as_fd(), DEVPTS_MAGIC).tried(format_args!("look at `/dev/pts/ptmx`"))? {
        return Err(Failed::new(Errno::PERM, format_args!("verify that `/dev/pts` is a devpts")));
    }
    unlockpt(&outer).tried(format_args!("unlock the terminal"))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let inner = ioctl_tiocgptpeer(&outer, flags).tried(format_args!("open the terminal"))?;
    if let Some(size) = size {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&outer, size).tried(format_args!("set the size of the terminal"))?;
    }
    rustix::fs::fchown(&inner, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
        .tried(format_args!("give the terminal to its user"))?;
    if mount {
        mount_console(root, &inner)?;
    }
    channel.tell_parent(&FromChild::Terminal(outer)).tried(format_args!("hand the terminal out"))?;
    set_stdio([inner.as_fd(); 3]).tried(format_args!("connect the terminal"))
}

/// Lets the terminal that is this process's standard input control its session, which is new.
pub(super) fn control() -> Result<(), Failed> {
    rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
        .tried(format_args!("take control of the terminal"))
}

/// Makes three descriptors the standard streams.
pub(super) fn set_stdio(fds: [BorrowedFd<'_>; 3]) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(fds[0])?;
    rustix::stdio::dup2_stdout(fds[1])?;
    rustix::stdio::dup2_stderr(fds[2])
}

fn mount_console(root: BorrowedFd<'_>, inner: &OwnedFd) -> Result<(), Failed> {
    let dev = path::open_in(root, c"dev", OFlags::PATH | OFlags::DIRECTORY, true)
        .tried(format_args!("open `/dev`"))?;
    let target = path::make_file(dev.as_fd(), c"console", Mode::from_raw_mode(0o620))
        .tried(format_args!("make `/dev/console`"))?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(inner, c"", flags)
        .and_then(|tree| mounts::attach(tree.as_fd(), target.as_fd()))
        .tried(format_args!("mount the terminal on `/dev/console`"))
}

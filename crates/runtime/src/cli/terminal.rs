//! A container's terminal: handed to another program, or relayed to our own.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::sys::signal;

/// Signals that whoever sends them to us means for the container.
const FORWARDED: [i32; 6] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2];

/// Sends the outer side of a terminal to a console socket, named as runc names it.
pub(super) fn hand_over(socket: &UnixStream, outer: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [outer.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(b"/dev/ptmx")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for a process in the foreground: signals go to it, and its terminal, if it has one, is
/// ours meanwhile.
pub(super) fn wait(pidfd: &OwnedFd, outer: Option<OwnedFd>) -> io::Result<()> {
    let mut watched = FORWARDED.to_vec();
    watched.push(libc::SIGWINCH);
    let signals = signal::descriptor(&watched)?;
    let raw = match &outer {
        Some(outer) => {
            copy_size(outer);
            Raw::enter()?
        }
        None => Raw(None),
    };
    let mut input_open = outer.is_some();
    let mut ended = false;
    loop {
        let stdin = rustix::stdio::stdin();
        let mut fds = vec![PollFd::new(pidfd, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        if let Some(outer) = &outer {
            fds.push(PollFd::new(outer, PollFlags::IN));
            if input_open {
                fds.push(PollFd::from_borrowed_fd(stdin, PollFlags::IN));
            }
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[1] {
            match signal::take(signals.as_fd()) {
                Some(libc::SIGWINCH) => outer.as_ref().into_iter().for_each(copy_size),
                Some(number) => drop(signal::send(pidfd.as_fd(), number)),
                None => {}
            }
        }
        ended |= ready[0];
        let Some(outer) = &outer else {
            if ended {
                break;
            }
            continue;
        };
        let more = ready[2] && relay(outer.as_fd(), rustix::stdio::stdout())?;
        if !more && (ended || ready[2]) {
            break;
        }
        if ready.get(3) == Some(&true) {
            input_open = relay(stdin, outer.as_fd())?;
        }
    }
    drop(raw);
    Ok(())
}

/// Copies once; `false` at the end.
fn relay(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0u8; 8192];
    match rustix::io::read(from, &mut buffer) {
        // A terminal whose inner side is closed everywhere says EIO.
        Ok(0) | Err(Errno::IO) => Ok(false),
        Ok(count) => {
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let written = rustix::io::retry_on_intr(|| rustix::io::write(to, rest))?;
                rest = &rest[written..];
            }
            Ok(true)
        }
        Err(Errno::INTR | Errno::AGAIN) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn copy_size(outer: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = tcsetwinsize(outer, size);
    }
}

/// Our own terminal in raw mode, until dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn enter() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Ok(Self(None));
        }
        let before = tcgetattr(stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin, OptionalActions::Now, &raw)?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

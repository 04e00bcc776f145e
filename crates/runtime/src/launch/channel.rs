//! What parent and child say to each other between clone and exec.
//!
//! A pair of sequenced-packet sockets, closed by the exec. Messages are small and made on the
//! stack: the child must not allocate. It uses `read` and `write` alone, which no filter forbids that
//! lets a program run.
//!
//! The kernel says whom a message comes from: a process that others in a container can take over may
//! speak for itself only.

use std::cell::Cell;
use std::fmt::{self, Write};
use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
};

/// The longest message; a state for hooks may be this long.
pub(super) const MESSAGE: usize = 32 << 10;

/// Room for what a failure says.
const TEXT: usize = 240;

/// What the child says.
#[derive(Debug)]
pub(super) enum FromChild {
    /// It gives up.
    Failed(Failed),
    /// It has made a user namespace and waits for its users to be mapped.
    Entered,
    /// Its namespaces and mounts are there: run the runtime's hooks, then say so.
    Hooks,
    /// The outer side of its terminal.
    Terminal(OwnedFd),
    /// All is made; it waits to be released.
    Created,
    /// The next thing is the exec.
    Executing,
    /// The process proper was cloned, by one that stands between: its number.
    Cloned(u32),
    /// It has gone, or has executed.
    Closed,
}

/// What the parent says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FromParent {
    /// Identity maps, limits and cgroup are in force: go on.
    Go,
    /// The hooks have run: go on.
    HooksDone,
    /// Start the program.
    Release,
}

/// What went wrong in the child, in a form that needs no memory of its own.
#[derive(Clone, Copy)]
pub(super) struct Failed {
    pub(super) kind: FailedKind,
    pub(super) errno: i32,
    text: [u8; TEXT],
    length: u8,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum FailedKind {
    Other = 0,
    ProgramNotFound = 1,
    ProgramNotExecutable = 2,
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel {
    socket: OwnedFd,
    /// Whether there is nobody any more at the other end.
    parted: Cell<bool>,
}

/// A message of a child, and the number of the process that has sent it.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) message: FromChild,
    pub(super) sender: u32,
}

impl Failed {
    pub(super) fn new(errno: Errno, what: fmt::Arguments<'_>) -> Self {
        let mut failed =
            Self { kind: FailedKind::Other, errno: errno.raw_os_error(), text: [0; TEXT], length: 0 };
        // Writing to it cannot fail: what does not fit is left out.
        let _ = failed.write_fmt(what);
        failed
    }

    /// A failure whose text says all, without an error of the kernel.
    pub(super) fn of_itself(what: fmt::Arguments<'_>) -> Self {
        Self { errno: 0, ..Self::new(Errno::IO, what) }
    }

    pub(super) fn of_kind(mut self, kind: FailedKind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.length)]
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

impl Write for Failed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.length);
        let count = text.len().min(TEXT - start);
        self.text[start..start + count].copy_from_slice(&text.as_bytes()[..count]);
        self.length += count as u8;
        Ok(())
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.text(), self.errno)
    }
}

/// Turns an error into [`Failed`], saying what was being tried on what.
pub(super) trait Tried<T> {
    fn tried(self, what: fmt::Arguments<'_>) -> Result<T, Failed>;
}

impl<T> Tried<T> for Result<T, Errno> {
    fn tried(self, what: fmt::Arguments<'_>) -> Result<T, Failed> {
        self.map_err(|errno| Failed::new(errno, what))
    }
}

impl<T> Tried<T> for io::Result<T> {
    fn tried(self, what: fmt::Arguments<'_>) -> Result<T, Failed> {
        self.map_err(|error| Failed::new(Errno::from_io_error(&error).unwrap_or(Errno::IO), what))
    }
}

impl Channel {
    /// The parent's end and the child's.
    pub(super) fn pair() -> io::Result<(Self, Self)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_passcred(&ours, true)?;
        let end = |socket| Self { socket, parted: Cell::new(false) };
        Ok((end(ours), end(theirs)))
    }

    /// The child's parent does not listen any longer.
    pub(super) fn part(&self) {
        self.parted.set(true);
    }

    /// The child tells the parent.
    pub(super) fn tell_parent(&self, message: &FromChild) -> Result<(), Errno> {
        if self.parted.get() {
            return Err(Errno::PIPE);
        }
        match message {
            FromChild::Failed(failed) => {
                let mut bytes = [0u8; 6 + TEXT];
                bytes[0] = b'F';
                bytes[1] = failed.kind as u8;
                bytes[2..6].copy_from_slice(&failed.errno.to_ne_bytes());
                bytes[6..].copy_from_slice(&failed.text);
                self.send(&bytes[..6 + usize::from(failed.length)])
            }
            FromChild::Entered => self.send(b"E"),
            FromChild::Hooks => self.send(b"H"),
            FromChild::Created => self.send(b"C"),
            FromChild::Executing => self.send(b"X"),
            FromChild::Cloned(pid) => {
                let [a, b, c, d] = pid.to_ne_bytes();
                self.send(&[b'P', a, b, c, d])
            }
            FromChild::Terminal(fd) => {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let fds = [fd.as_fd()];
                control.push(SendAncillaryMessage::ScmRights(&fds));
                retry_on_intr(|| {
                    sendmsg(&self.socket, &[IoSlice::new(b"T")], &mut control, SendFlags::NOSIGNAL)
                })
                .map(drop)
            }
            FromChild::Closed => Ok(()),
        }
    }

    /// The parent tells the child; hooks inside the container need the container's `state`.
    pub(super) fn tell_child(&self, message: FromParent, state: &[u8]) -> Result<(), Errno> {
        let tag = [match message {
            FromParent::Go => b'G',
            FromParent::HooksDone => b'H',
            FromParent::Release => b'R',
        }];
        let mut control = SendAncillaryBuffer::new(&mut []);
        let parts = [IoSlice::new(&tag), IoSlice::new(state)];
        retry_on_intr(|| sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)).map(drop)
    }

    /// The child waits for the parent; `None` if the parent has gone. What comes with the message
    /// is put in `state`, which has room for one byte more, and how long it is comes back.
    pub(super) fn hear_parent(&self, state: &mut [u8]) -> Result<Option<(FromParent, usize)>, Errno> {
        let count = retry_on_intr(|| rustix::io::read(&self.socket, &mut *state))?;
        let message = match state.first().filter(|_| count > 0) {
            None => return Ok(None),
            Some(b'G') => FromParent::Go,
            Some(b'H') => FromParent::HooksDone,
            Some(b'R') => FromParent::Release,
            Some(_) => return Err(Errno::PROTO),
        };
        state.copy_within(1..count, 0);
        Ok(Some((message, count - 1)))
    }

    /// The parent hears the child: waits for it, or gives `None` where the parent's end does not
    /// block and there is nothing to hear.
    ///
    /// Only with `rights` does it take a descriptor: whoever may have taken a child over could send
    /// one that is never closed, since a file system of theirs does not let it be.
    pub(super) fn hear_child(&self, rights: bool) -> io::Result<Option<Heard>> {
        const SENDER: usize = rustix::cmsg_space!(ScmCredentials(1));
        let mut bytes = [0u8; 6 + TEXT];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(1))];
        let room = if rights { space.len() } else { SENDER };
        let mut control = RecvAncillaryBuffer::new(&mut space[..room]);
        let received = retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)
        });
        let count = match received {
            Ok(received) => received.bytes,
            // The child died with something of ours unread.
            Err(Errno::CONNRESET) => 0,
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (mut sender, mut descriptor) = (0, None);
        for message in control.drain() {
            match message {
                RecvAncillaryMessage::ScmCredentials(credentials) => {
                    sender = credentials.pid.as_raw_nonzero().get().unsigned_abs();
                }
                RecvAncillaryMessage::ScmRights(mut fds) => descriptor = fds.next(),
                _ => {}
            }
        }
        let message = match &bytes[..count] {
            [] => FromChild::Closed,
            [b'F', kind, rest @ ..] if rest.len() >= 4 => FromChild::Failed(failure(*kind, rest)),
            [b'E'] => FromChild::Entered,
            [b'H'] => FromChild::Hooks,
            [b'C'] => FromChild::Created,
            [b'X'] => FromChild::Executing,
            [b'P', a, b, c, d] => FromChild::Cloned(u32::from_ne_bytes([*a, *b, *c, *d])),
            [b'T'] => FromChild::Terminal(descriptor.ok_or(io::ErrorKind::InvalidData)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some(Heard { message, sender }))
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        retry_on_intr(|| rustix::io::write(&self.socket, bytes)).map(drop)
    }
}

/// What a message of a failure says behind its kind: an error number and a text.
fn failure(kind: u8, rest: &[u8]) -> Failed {
    let mut failed = Failed::new(Errno::IO, format_args!(""));
    failed.errno = i32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]);
    failed.kind = match kind {
        1 => FailedKind::ProgramNotFound,
        2 => FailedKind::ProgramNotExecutable,
        _ => FailedKind::Other,
    };
    let text = &rest[4..];
    failed.text[..text.len()].copy_from_slice(text);
    failed.length = text.len() as u8;
    failed
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_reaches_the_parent_with_its_text_cut_to_size() {
        let (ours, theirs) = Channel::pair().expect("socket pair");
        let long = "x".repeat(500);
        let failed =
            Failed::new(Errno::NOENT, format_args!("execute `{long}`")).of_kind(FailedKind::ProgramNotFound);
        theirs.tell_parent(&FromChild::Failed(failed)).expect("send");
        let heard = ours.hear_child(false).expect("receive").expect("a message");
        assert_eq!(heard.sender, std::process::id());
        let FromChild::Failed(heard) = heard.message else { panic!("not a failure") };
        assert_eq!(heard.errno, libc::ENOENT);
        assert_eq!(heard.kind, FailedKind::ProgramNotFound);
        assert!(heard.text().starts_with("execute `xxx") && heard.text().len() == TEXT);
    }

    #[test]
    fn a_child_that_goes_is_heard_as_closed_and_a_parent_that_goes_as_none() {
        let (ours, theirs) = Channel::pair().expect("socket pair");
        drop(theirs);
        let heard = ours.hear_child(false).expect("receive").expect("the end");
        assert!(matches!(heard.message, FromChild::Closed));
        let (ours, theirs) = Channel::pair().expect("socket pair");
        drop(ours);
        assert!(theirs.hear_parent(&mut [0]).expect("receive").is_none());
    }

    #[test]
    fn a_state_comes_with_the_word_to_go() {
        let (ours, theirs) = Channel::pair().expect("socket pair");
        ours.tell_child(FromParent::Go, b"state").expect("send");
        let mut state = [0; 16];
        let heard = theirs.hear_parent(&mut state).expect("receive");
        assert_eq!(heard, Some((FromParent::Go, 5)));
        assert_eq!(&state[..5], b"state");
    }

    #[test]
    fn a_descriptor_is_taken_only_where_one_is_expected() {
        let (ours, theirs) = Channel::pair().expect("socket pair");
        let open = || theirs.socket.try_clone().expect("clone");
        theirs.tell_parent(&FromChild::Terminal(open())).expect("send");
        assert!(ours.hear_child(false).is_err());
        theirs.tell_parent(&FromChild::Terminal(open())).expect("send");
        let heard = ours.hear_child(true).expect("receive").expect("a message");
        assert!(matches!(heard.message, FromChild::Terminal(_)));
    }
}

//! Whether the other end of a socket has taken what was sent to it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// How much of what was written to `socket` is still on its way.
///
/// Of a Unix socket that is memory, which is given back when the other end has read all of a piece: below 2 all was
/// read (the kernel gives back the last byte only after it has told that the socket can be written to). Of a TCP
/// socket it is the bytes that the other machine has not acknowledged; whether they were read there nobody knows.
pub fn unread(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the request, SIOCOUTQ by another name, writes one integer, which lives on the stack.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(count).unwrap_or(0)) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_was_read_is_no_longer_on_its_way() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        assert_eq!(unread(ours.as_fd()).expect("ask"), 0);
        ours.write_all(b"a head").expect("write");
        assert!(unread(ours.as_fd()).expect("ask") > 6, "memory, not bytes");
        theirs.read_exact(&mut [0; 3]).expect("read half");
        assert!(unread(ours.as_fd()).expect("ask") > 1, "half of it is not all");
        theirs.read_exact(&mut [0; 3]).expect("read the rest");
        assert_eq!(unread(ours.as_fd()).expect("ask"), 0);
    }
}

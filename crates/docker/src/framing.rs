//! The multiplexed stream: both outputs of a process over one connection.
//!
//! Each piece is preceded by eight bytes: the stream (0 input, 1 output, 2 error, 3 the daemon's
//! own error), three zeros, and the length of what follows, big-endian.

use bytes::{BufMut, Bytes, BytesMut};
use engine::OutputKind;

/// The content type of a multiplexed stream.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";

/// The content type of a terminal's stream, which is not framed.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// How a process's output travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it is: the process has a terminal, which has but one output.
    Raw,
    /// With the eight bytes before each piece.
    Multiplexed,
}

impl Framing {
    /// What a process with or without a terminal gets.
    pub(crate) fn of_terminal(tty: bool) -> Self {
        if tty { Self::Raw } else { Self::Multiplexed }
    }

    /// The piece as it travels.
    pub(crate) fn wrap(self, kind: OutputKind, piece: Bytes) -> Bytes {
        match self {
            Self::Raw => piece,
            Self::Multiplexed => frame(number(kind), &piece),
        }
    }

    /// A failure in the middle of a stream: framed, or as text where there are no frames.
    pub(crate) fn failure(self, message: &str) -> Bytes {
        match self {
            Self::Raw => Bytes::from(format!("{message}\r\n")),
            Self::Multiplexed => frame(3, message.as_bytes()),
        }
    }
}

fn number(kind: OutputKind) -> u8 {
    match kind {
        OutputKind::Stdout => 1,
        OutputKind::Stderr => 2,
    }
}

fn frame(stream: u8, piece: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(8 + piece.len());
    framed.put_slice(&[stream, 0, 0, 0]);
    framed.put_u32(u32::try_from(piece.len()).expect("pieces are cut far below four gigabytes"));
    framed.put_slice(piece);
    framed.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(framing: Framing, kind: OutputKind, piece: &'static str, expected: &[u8]) {
        assert_eq!(framing.wrap(kind, Bytes::from(piece)), expected);
    }

    #[test]
    fn pieces_carry_their_stream_and_length() {
        check(Framing::Multiplexed, OutputKind::Stdout, "hi\n", b"\x01\0\0\0\0\0\0\x03hi\n");
        check(Framing::Multiplexed, OutputKind::Stderr, "", b"\x02\0\0\0\0\0\0\0");
        check(Framing::Raw, OutputKind::Stdout, "hi\n", b"hi\n");
    }

    #[test]
    fn a_terminal_is_not_framed() {
        assert_eq!(Framing::of_terminal(true), Framing::Raw);
        assert_eq!(Framing::of_terminal(false), Framing::Multiplexed);
    }
}

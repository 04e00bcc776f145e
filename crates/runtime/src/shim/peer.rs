//! One connection to the shim's socket.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use super::descriptors;
use super::protocol::{self, Decoder, Kind, Streams};

/// Output that may wait for a client before the process that makes it is held up.
pub(super) const OUTPUT_LIMIT: usize = 256 << 10;

/// Requests that may wait for an answer to be given before no more are read, bytes.
const REQUEST_LIMIT: usize = 64 << 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Requests and answers.
    Control,
    /// The streams of a process.
    Stream { process: u32, streams: Streams },
    /// Events only.
    Events,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) socket: UnixStream,
    pub(super) mode: Mode,
    pub(super) decoder: Decoder,
    /// Descriptors that came with the bytes of a request.
    pub(super) descriptors: Vec<OwnedFd>,
    /// What could not be sent yet.
    out: VecDeque<u8>,
    /// Whether it takes nothing more, though what it sent before may still be on its way.
    deaf: bool,
    /// Whether it is closed once all is sent.
    pub(super) closing: bool,
    /// Whether nothing is read from it until its input has gone on.
    pub(super) held: bool,
    /// Whether what it asked for is still being done.
    pub(super) busy: bool,
    /// Whether it gave input to its process.
    pub(super) gave_input: bool,
    /// What is registered with epoll: reading, writing.
    pub(super) interest: (bool, bool),
}

impl Peer {
    pub(super) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            mode: Mode::Control,
            decoder: Decoder::default(),
            descriptors: Vec::new(),
            out: VecDeque::new(),
            deaf: false,
            closing: false,
            held: false,
            busy: false,
            gave_input: false,
            interest: (true, false),
        }
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, kind: Kind, payload: &[u8]) {
        if self.deaf {
            return;
        }
        self.out.extend(protocol::header(kind, payload.len()));
        self.out.extend(payload);
    }

    /// How much waits to be sent.
    pub(super) fn waiting(&self) -> usize {
        self.out.len()
    }

    /// What epoll should tell about this connection.
    pub(super) fn wanted(&self) -> (bool, bool) {
        (self.is_read() && !self.closing, !self.out.is_empty())
    }

    /// Whether more is read. While an answer is awaited that goes on, so that it shows when whoever
    /// asked has gone.
    pub(super) fn is_read(&self) -> bool {
        !(self.held || self.busy && self.decoder.waiting() > REQUEST_LIMIT)
    }

    /// Sends as much as the socket takes. A stream that takes nothing more is read to its end all the same: what a
    /// client sent before it went is its process's.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.send() {
            Err(_) if matches!(self.mode, Mode::Stream { .. }) => {
                self.deaf = true;
                self.out = VecDeque::new();
                Ok(())
            }
            sent => sent,
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let (front, _) = self.out.as_slices();
            match self.socket.write(front) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.shrink_to(4 << 10);
        Ok(())
    }

    /// Takes in what has come; `false` once the other side has closed.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match descriptors::receive(&self.socket, buffer, &mut self.descriptors) {
            Ok(0) => Ok(false),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

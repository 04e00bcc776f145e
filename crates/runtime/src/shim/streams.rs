//! Moving bytes between processes and those who are attached to them.

use base::Clock;
use rustix::event::epoll;

use super::backlog::Backlog;
use super::log::Stream;
use super::notes::note;
use super::peer::Mode;
use super::process::{Input, ReadOutcome};
use super::protocol::{Frame, Kind, Streams};
use super::server::Server;

impl Server {
    pub(super) fn take_frame(&mut self, id: u32, frame: Frame) -> bool {
        let Some(mode) = self.peers.get(&id).map(|peer| peer.mode) else { return true };
        match (mode, frame.kind) {
            (Mode::Control, Kind::Request) => match frame.json() {
                Ok(request) => {
                    self.request(id, request);
                    true
                }
                Err(_) => false,
            },
            (Mode::Stream { process, streams }, kind) => {
                let Some(held) = self.processes.get_mut(&process) else { return true };
                match kind {
                    Kind::Stdin if streams.stdin => {
                        if let Some(input) = &mut held.input {
                            input.push(&frame.payload);
                        }
                        let full = held.input.as_ref().is_some_and(Input::is_full);
                        if let Some(peer) = self.peers.get_mut(&id) {
                            peer.gave_input = true;
                            peer.held = full;
                        }
                        self.feed(process);
                        true
                    }
                    Kind::StdinClosed if streams.stdin => {
                        // A terminal has no end of input that could be sent; a pipe is closed.
                        if let Some(input) = held.input.as_mut().filter(|_| !held.terminal) {
                            input.close();
                        }
                        self.feed(process);
                        true
                    }
                    Kind::Resize => match frame.json() {
                        Ok(size) => {
                            let _ = held.resize(size);
                            true
                        }
                        Err(_) => false,
                    },
                    Kind::Stdin | Kind::StdinClosed => true,
                    _ => false,
                }
            }
            _ => false,
        }
    }

    /// Reads once from a stream and passes it on; `false` if there was nothing.
    pub(super) fn pass_on(&mut self, number: u32, stream: Stream) -> bool {
        let now = self.clock.now();
        let Some(held) = self.processes.get_mut(&number) else { return false };
        let Some(output) = &held.outputs[stream as usize] else { return false };
        let count = match output.read(&mut self.buffer) {
            ReadOutcome::Bytes(count) => count,
            ReadOutcome::NothingNow => return false,
            ReadOutcome::Ended => {
                if let Some(output) = held.outputs[stream as usize].take()
                    && output.watched
                {
                    let _ = epoll::delete(&self.epoll, &output.fd);
                }
                return false;
            }
        };
        let bytes = &self.buffer[..count];
        if let Some(Err(error)) = held.log.as_mut().map(|log| log.write(stream, bytes, now)) {
            note!("write the log of {}: {error}", held.container);
        }
        if let Some(backlog) = &mut held.backlog {
            backlog.push(stream, bytes);
        }
        let kind = kind_of(stream);
        for id in &held.attached {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let Mode::Stream { streams, .. } = peer.mode else { continue };
            if streams.want(stream) {
                peer.push(kind, bytes);
            }
        }
        true
    }

    /// Gives who is the first to attach to a process what it has written so far.
    pub(super) fn catch_up(&mut self, id: u32, number: u32, streams: Streams) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(held) = self.processes.get_mut(&number) else { return };
        // Who gives input only, or wants a size, has not taken it.
        if !streams.stdout && !streams.stderr {
            return;
        }
        let pieces = held.backlog.take().into_iter().flat_map(Backlog::into_pieces);
        for (stream, bytes) in pieces.filter(|(stream, _)| streams.want(*stream)) {
            peer.push(kind_of(stream), &bytes);
        }
    }

    /// Gives a process the input that waits for it.
    pub(super) fn feed(&mut self, number: u32) {
        let Some(held) = self.processes.get_mut(&number) else { return };
        if let Some(input) = &mut held.input
            && !input.flush()
            && let Some(input) = held.input.take()
            && input.watched
        {
            let _ = epoll::delete(&self.epoll, &input.fd);
        }
    }
}

fn kind_of(stream: Stream) -> Kind {
    match stream {
        Stream::Stdout => Kind::Stdout,
        Stream::Stderr => Kind::Stderr,
    }
}

impl Streams {
    /// Whether output of this kind is wanted.
    fn want(self, stream: Stream) -> bool {
        match stream {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

//! Moving bytes between processes and those who are attached to them.

use base::Clock;
use rustix::event::epoll;

use super::log::Stream;
use super::notes::note;
use super::peer::Mode;
use super::process::{Input, ReadOutcome};
use super::protocol::{Frame, Kind};
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
        let kind = if stream == Stream::Stdout { Kind::Stdout } else { Kind::Stderr };
        for id in &held.attached {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            let Mode::Stream { streams, .. } = peer.mode else { continue };
            if if stream == Stream::Stdout { streams.stdout } else { streams.stderr } {
                peer.push(kind, bytes);
            }
        }
        true
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

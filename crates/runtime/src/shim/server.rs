//! The shim's loop: one thread, one epoll, everything that can wake it.
//!
//! What is watched follows from the state: after each round [`Server::settle`] looks at every
//! connection and process and registers what it can go on with. A client that does not read holds
//! up the processes it is attached to, a process that does not read holds up its clients.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::process::ExitCode;

use base::{Clock, SystemClock};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

use super::container::Container;
use super::log::Stream;
use super::peer::{Mode, OUTPUT_LIMIT, Peer};
use super::process::{Held, ReadOutcome};
use super::protocol::{Event, ExitStatus, Frame, Kind, Response};
use crate::launch::Inherited;

/// How long a terminal's last output is waited for after its process has ended, milliseconds.
const TERMINAL_GRACE: u64 = 200;

const BUFFER: usize = 32 << 10;

/// What a shim is.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) id: String,
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) init_pid: Option<u32>,
    pub(super) socket: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) inherited: Inherited,
}

/// What wakes the loop. Packed into the number that epoll hands back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    Listener,
    Peer(u32),
    /// Output of a process, by stream.
    Output(u32, Stream),
    /// A process can take input.
    Input(u32),
    Exit(u32),
    /// A container, by its first process, is out of memory.
    OutOfMemory(u32),
    /// Process 1 of the shared process namespace has ended.
    Init,
}

/// The shim.
pub(super) struct Server {
    pub(super) identity: Identity,
    listener: UnixListener,
    init: Option<OwnedFd>,
    epoll: OwnedFd,
    pub(super) peers: BTreeMap<u32, Peer>,
    pub(super) processes: BTreeMap<u32, Held>,
    pub(super) containers: BTreeMap<String, Container>,
    next: u32,
    buffer: Box<[u8]>,
    pub(super) stopping: bool,
    pub(super) clock: SystemClock,
}

impl Wake {
    fn pack(self) -> EventData {
        let (kind, id) = match self {
            Self::Listener => (0, 0),
            Self::Peer(id) => (1, id),
            Self::Output(id, Stream::Stdout) => (2, id),
            Self::Output(id, Stream::Stderr) => (3, id),
            Self::Input(id) => (4, id),
            Self::Exit(id) => (5, id),
            Self::OutOfMemory(id) => (6, id),
            Self::Init => (7, 0),
        };
        EventData::new_u64(kind << 32 | u64::from(id))
    }

    fn unpack(data: EventData) -> Option<Self> {
        let id = data.u64() as u32;
        Some(match data.u64() >> 32 {
            0 => Self::Listener,
            1 => Self::Peer(id),
            2 => Self::Output(id, Stream::Stdout),
            3 => Self::Output(id, Stream::Stderr),
            4 => Self::Input(id),
            5 => Self::Exit(id),
            6 => Self::OutOfMemory(id),
            7 => Self::Init,
            _ => return None,
        })
    }
}

impl Server {
    pub(super) fn new(identity: Identity, listener: UnixListener, init: Option<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let server = Self {
            identity,
            listener,
            init,
            epoll,
            peers: BTreeMap::new(),
            processes: BTreeMap::new(),
            containers: BTreeMap::new(),
            next: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            stopping: false,
            clock: SystemClock::new(),
        };
        server.watch(&server.listener, Wake::Listener, EventFlags::IN)?;
        if let Some(init) = &server.init {
            server.watch(init, Wake::Init, EventFlags::IN)?;
        }
        Ok(server)
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> ExitCode {
        let mut events = Vec::with_capacity(32);
        while !(self.stopping && self.peers.values().all(|peer| peer.waiting() == 0)) {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    eprintln!("gantry shim: wait for events: {error}");
                    return ExitCode::FAILURE;
                }
            }
            for event in &events {
                if let Some(wake) = Wake::unpack(event.data) {
                    self.wake(wake, event.flags);
                }
            }
            self.settle();
        }
        let _ = std::fs::remove_file(&self.identity.socket);
        ExitCode::SUCCESS
    }

    /// A number that no connection or process has had.
    pub(super) fn next_number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    pub(super) fn watch(&self, fd: impl AsFd, wake: Wake, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, wake.pack(), flags)?)
    }

    pub(super) fn unwatch(&self, fd: impl AsFd) {
        // One that is not watched need not be told about.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Sends an event to all who listen for them.
    pub(super) fn announce(&mut self, event: &Event) {
        let payload = serde_json::to_vec(event).expect("an event has only string keys");
        for peer in self.peers.values_mut().filter(|peer| peer.mode == Mode::Events) {
            // One that does not read gets no more: it finds out by asking again.
            if peer.waiting() > OUTPUT_LIMIT {
                peer.closing = true;
            } else {
                peer.push(Kind::Event, &payload);
            }
        }
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, peer: u32, response: &Response) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.push(Kind::Response, &serde_json::to_vec(response).expect("an answer has only string keys"));
        }
    }

    /// Makes a process's end known to its clients, those who wait for it, and all who listen.
    pub(super) fn finish(&mut self, number: u32) {
        let now = self.clock.now();
        let Some(held) = self.processes.get_mut(&number) else { return };
        let Some(status) = held.ended.clone().filter(|_| held.exit.is_none()) else { return };
        if let Some(Err(error)) = held.log.as_mut().map(|log| log.finish(now)) {
            eprintln!("gantry shim: write the log of {}: {error}", held.container);
        }
        held.exit = Some(status.clone());
        held.deadline = None;
        let (container, exec) = (held.container.clone(), held.exec.clone());
        let (attached, waiting) = (std::mem::take(&mut held.attached), std::mem::take(&mut held.waiting));
        if exec.is_none() {
            self.keep_exit(&container, &status);
        }
        let payload = serde_json::to_vec(&status).expect("a status has only string keys");
        for peer in attached {
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.push(Kind::Exited, &payload);
                peer.closing = true;
            }
        }
        for peer in waiting {
            self.answer(peer, &Response::Exit(Some(status.clone())));
        }
        self.announce(&Event::Exited { container, exec, status });
    }

    /// Reaps a process that has ended, and passes on what it left in its pipes.
    pub(super) fn reap(&mut self, number: u32) {
        let Some(held) = self.processes.get(&number).filter(|held| held.ended.is_none()) else { return };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Ok(Some(status)) = waitid(WaitId::PidFd(held.pidfd()), options) else { return };
        self.unwatch(&held.pidfd);
        let kills = self.containers.get(&held.container).map_or(0, |container| container.cgroup.oom_kills());
        let signal = status.terminating_signal();
        let status = ExitStatus {
            code: status.exit_status().or(signal.map(|signal| 128 + signal)).unwrap_or(255),
            signal,
            at: self.clock.now(),
            oom_killed: kills > 0,
        };
        let terminal = held.terminal;
        if let Some(held) = self.processes.get_mut(&number) {
            held.ended = Some(status);
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self.pass_on(number, stream) {}
        }
        let drained = self.processes.get(&number).is_none_or(Held::is_drained);
        if terminal && !drained {
            if let Some(held) = self.processes.get_mut(&number) {
                held.deadline = Some(milliseconds() + TERMINAL_GRACE);
            }
        } else {
            self.finish(number);
        }
    }

    fn wake(&mut self, wake: Wake, flags: EventFlags) {
        match wake {
            Wake::Listener => self.accept(),
            Wake::Peer(id) => self.wake_peer(id, flags),
            Wake::Output(id, stream) => drop(self.pass_on(id, stream)),
            Wake::Input(id) => self.feed(id),
            Wake::Exit(id) => self.reap(id),
            Wake::OutOfMemory(id) => self.out_of_memory(id),
            Wake::Init => {
                if let Some(init) = self.init.take() {
                    self.unwatch(&init);
                    let _ =
                        waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((socket, _)) = self.listener.accept() {
            let id = self.next_number();
            if socket.set_nonblocking(true).is_ok()
                && self.watch(&socket, Wake::Peer(id), EventFlags::IN).is_ok()
            {
                self.peers.insert(id, Peer::new(socket));
            }
        }
    }

    fn wake_peer(&mut self, id: u32, flags: EventFlags) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut open = !flags.contains(EventFlags::ERR);
        if open && flags.intersects(EventFlags::IN | EventFlags::HUP) && !peer.held {
            open = peer.fill(&mut self.buffer).unwrap_or(false);
            open &= self.take_frames(id);
        }
        if !open {
            self.drop_peer(id);
        }
    }

    /// Acts on every whole frame that has come; `false` if one is nonsense.
    fn take_frames(&mut self, id: u32) -> bool {
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return true };
            // What was asked for before is answered first; the rest waits in the decoder.
            if peer.held || peer.closing {
                return true;
            }
            match peer.decoder.next_frame() {
                Ok(Some(frame)) => {
                    if !self.take_frame(id, frame) {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    fn take_frame(&mut self, id: u32, frame: Frame) -> bool {
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
                        let full = held.input.as_ref().is_some_and(super::process::Input::is_full);
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

    fn drop_peer(&mut self, id: u32) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.unwatch(&peer.socket);
        for held in self.processes.values_mut() {
            held.attached.retain(|attached| *attached != id);
            held.waiting.retain(|waiting| *waiting != id);
        }
        let Mode::Stream { process, .. } = peer.mode else { return };
        if let Some(held) = self.processes.get_mut(&process)
            && held.stdin_once
            && peer.gave_input
            && let Some(input) = &mut held.input
        {
            input.close();
            self.feed(process);
        }
    }

    /// Reads once from a stream and passes it on; `false` if there was nothing.
    fn pass_on(&mut self, number: u32, stream: Stream) -> bool {
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
            eprintln!("gantry shim: write the log of {}: {error}", held.container);
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
    fn feed(&mut self, number: u32) {
        let Some(held) = self.processes.get_mut(&number) else { return };
        if let Some(input) = &mut held.input
            && !input.flush()
            && let Some(input) = held.input.take()
            && input.watched
        {
            let _ = epoll::delete(&self.epoll, &input.fd);
        }
    }

    fn out_of_memory(&mut self, number: u32) {
        let Some((name, container)) =
            self.containers.iter().find(|(_, container)| container.process == number)
        else {
            return;
        };
        let Some(watch) = &container.oom else { return };
        watch.clear();
        let name = name.clone();
        if container.cgroup.exists() {
            self.announce(&Event::OutOfMemory { container: name });
        } else {
            self.unwatch(watch);
        }
    }

    /// Registers what each connection and process can go on with, and ends what is over.
    fn settle(&mut self) {
        let now = milliseconds();
        let late: Vec<u32> = self
            .processes
            .iter()
            .filter(|(_, held)| {
                held.ended.is_some()
                    && held.exit.is_none()
                    && (held.is_drained() || held.deadline.is_some_and(|deadline| deadline <= now))
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.finish(number);
        }
        self.settle_peers();
        for (number, held) in &mut self.processes {
            let slow = held
                .attached
                .iter()
                .any(|id| self.peers.get(id).is_some_and(|peer| peer.waiting() > OUTPUT_LIMIT));
            for output in held.outputs.iter_mut().flatten() {
                if output.watched == slow {
                    let wake = Wake::Output(*number, output.stream).pack();
                    // Taken out and not only masked: epoll would go on telling about the other end's close.
                    let changed = if slow {
                        epoll::delete(&self.epoll, &output.fd)
                    } else {
                        epoll::add(&self.epoll, &output.fd, wake, EventFlags::IN)
                    };
                    output.watched = if changed.is_ok() { !slow } else { output.watched };
                }
            }
            if let Some(input) = &mut held.input
                && input.watched != input.has_waiting()
            {
                let changed = if input.watched {
                    epoll::delete(&self.epoll, &input.fd)
                } else {
                    epoll::add(&self.epoll, &input.fd, Wake::Input(*number).pack(), EventFlags::OUT)
                };
                input.watched = if changed.is_ok() { !input.watched } else { input.watched };
            }
        }
    }

    fn settle_peers(&mut self) {
        let mut gone = Vec::new();
        let mut released = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.flush().is_err() || peer.closing && peer.waiting() == 0 {
                gone.push(*id);
                continue;
            }
            if peer.held {
                let Mode::Stream { process, .. } = peer.mode else { continue };
                let input = self.processes.get(&process).and_then(|held| held.input.as_ref());
                if input.is_none_or(|input| !input.is_full()) {
                    peer.held = false;
                    released.push(*id);
                }
            }
            let wanted = peer.wanted();
            if wanted != peer.interest {
                let mut flags = EventFlags::empty();
                flags.set(EventFlags::IN, wanted.0);
                flags.set(EventFlags::OUT, wanted.1);
                let data = Wake::Peer(*id).pack();
                let changed = match (peer.interest, wanted) {
                    (_, (false, false)) => epoll::delete(&self.epoll, &peer.socket),
                    ((false, false), _) => epoll::add(&self.epoll, &peer.socket, data, flags),
                    _ => epoll::modify(&self.epoll, &peer.socket, data, flags),
                };
                if changed.is_ok() {
                    peer.interest = wanted;
                }
            }
        }
        for id in gone {
            self.drop_peer(id);
        }
        for id in released {
            if !self.take_frames(id) {
                self.drop_peer(id);
            }
        }
    }

    /// How long to sleep at most.
    fn timeout(&self) -> Option<Timespec> {
        let deadline = self.processes.values().filter_map(|held| held.deadline).min()?;
        let left = deadline.saturating_sub(milliseconds());
        Some(Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 })
    }
}

fn milliseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

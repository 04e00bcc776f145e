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

use base::SystemClock;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use rustix::time::{ClockId, clock_gettime};

use super::container::Container;
use super::launching::{Launching, Stray};
use super::log::Stream;
use super::notes::note;
use super::peer::{Mode, OUTPUT_LIMIT, Peer};
use super::process::Held;
use super::protocol::{Event, Kind, Response};
use super::stopping::Stopping;
use crate::launch::Inherited;
use crate::sys::signal;

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
    /// A process on its way to its program says something.
    Launch(u32),
    /// A hook of such a process has ended.
    Hooks(u32),
    /// A hook of a container, by its first process, that has ended.
    EndHooks(u32),
    /// A process that is only waited for has ended.
    Stray(u32),
    /// Somebody wants the shim to end.
    Signal,
}

/// The shim.
pub(super) struct Server {
    pub(super) identity: Identity,
    listener: UnixListener,
    init: Option<OwnedFd>,
    pub(super) epoll: OwnedFd,
    signals: OwnedFd,
    pub(super) peers: BTreeMap<u32, Peer>,
    pub(super) processes: BTreeMap<u32, Held>,
    pub(super) containers: BTreeMap<String, Container>,
    /// By the number that the process has, or will have, among `processes`.
    pub(super) launches: BTreeMap<u32, Launching>,
    pub(super) strays: BTreeMap<u32, Stray>,
    next: u32,
    pub(super) buffer: Box<[u8]>,
    pub(super) stopping: Option<Stopping>,
    pub(super) clock: SystemClock,
}

impl Wake {
    pub(super) fn pack(self) -> EventData {
        let (kind, id) = match self {
            Self::Listener => (0, 0),
            Self::Peer(id) => (1, id),
            Self::Output(id, Stream::Stdout) => (2, id),
            Self::Output(id, Stream::Stderr) => (3, id),
            Self::Input(id) => (4, id),
            Self::Exit(id) => (5, id),
            Self::OutOfMemory(id) => (6, id),
            Self::Init => (7, 0),
            Self::Launch(id) => (8, id),
            Self::Hooks(id) => (9, id),
            Self::EndHooks(id) => (10, id),
            Self::Stray(id) => (11, id),
            Self::Signal => (12, 0),
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
            8 => Self::Launch(id),
            9 => Self::Hooks(id),
            10 => Self::EndHooks(id),
            11 => Self::Stray(id),
            12 => Self::Signal,
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
            signals: signal::descriptor(&[libc::SIGTERM])?,
            peers: BTreeMap::new(),
            processes: BTreeMap::new(),
            containers: BTreeMap::new(),
            launches: BTreeMap::new(),
            strays: BTreeMap::new(),
            next: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            stopping: None,
            clock: SystemClock::new(),
        };
        server.watch(&server.listener, Wake::Listener, EventFlags::IN)?;
        server.watch(&server.signals, Wake::Signal, EventFlags::IN)?;
        if let Some(init) = &server.init {
            server.watch(init, Wake::Init, EventFlags::IN)?;
        }
        Ok(server)
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self) -> ExitCode {
        let mut events = Vec::with_capacity(32);
        while !self.is_done() {
            let timeout = self.timeout();
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => {
                    note!("wait for events: {error}");
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
            peer.busy = false;
            peer.push(Kind::Response, &serde_json::to_vec(response).expect("an answer has only string keys"));
        }
    }

    fn wake(&mut self, wake: Wake, flags: EventFlags) {
        match wake {
            Wake::Listener => self.accept(),
            Wake::Peer(id) => self.wake_peer(id, flags),
            Wake::Output(id, stream) => drop(self.pass_on(id, stream)),
            Wake::Input(id) => self.feed(id),
            Wake::Exit(id) => {
                // What it said before its end comes first.
                self.hear(id);
                self.reap(id);
            }
            Wake::OutOfMemory(id) => self.out_of_memory(id),
            Wake::Init => {
                if let Some(init) = self.init.take() {
                    self.unwatch(&init);
                    let _ =
                        waitid(WaitId::PidFd(init.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                }
            }
            Wake::Launch(id) => self.hear(id),
            Wake::Hooks(id) => self.step_hooks(id),
            Wake::EndHooks(id) => {
                if let Some(container) = self.container_of(id) {
                    self.step_ending(&container);
                }
            }
            Wake::Stray(id) => self.reap_stray(id),
            Wake::Signal => {
                while signal::take(self.signals.as_fd()).is_some() {}
                self.begin_stop();
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
        // One that has gone without taking all that was sent is in error, and what it sent itself is there still.
        let is_stream = matches!(peer.mode, Mode::Stream { .. });
        let mut open = is_stream || !flags.contains(EventFlags::ERR);
        if open && flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) && peer.is_read() {
            open = peer.fill(&mut self.buffer).unwrap_or(false);
            open &= self.take_frames(id);
        }
        if !open {
            self.drop_peer(id);
        }
    }

    /// Acts on every whole frame that has come; `false` if one is nonsense.
    pub(super) fn take_frames(&mut self, id: u32) -> bool {
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return true };
            // What was asked for before is answered first; the rest waits in the decoder.
            if peer.held || peer.busy || peer.closing {
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

    pub(super) fn drop_peer(&mut self, id: u32) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.unwatch(&peer.socket);
        if peer.busy {
            self.forget_asker(id);
        }
        for held in self.processes.values_mut() {
            held.attached.retain(|attached| *attached != id);
            held.waiting.retain(|waiting| *waiting != id);
        }
        let Mode::Stream { process, .. } = peer.mode else { return };
        if let Some(held) = self.processes.get_mut(&process)
            && held.stdin_once
            // Whoever leaves a terminal comes back to it.
            && !held.terminal
            && peer.gave_input
            && let Some(input) = &mut held.input
        {
            input.close();
            self.feed(process);
        }
    }

    /// The container whose first process has this number.
    fn container_of(&self, number: u32) -> Option<String> {
        let mut all = self.containers.iter();
        all.find(|(_, container)| container.process == number).map(|(id, _)| id.clone())
    }

    fn out_of_memory(&mut self, number: u32) {
        let Some(name) = self.container_of(number) else { return };
        let container = &self.containers[&name];
        let Some(watch) = &container.oom else { return };
        watch.clear();
        if container.cgroup.exists() {
            self.announce(&Event::OutOfMemory { container: name });
        } else {
            self.unwatch(watch);
        }
    }
}

pub(super) fn milliseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

//! The end of a process: waited for, its last output passed on, told to all who want to know.

use base::Clock;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::log::Stream;
use super::notes::note;
use super::process::Held;
use super::protocol::{Event, ExitStatus, Kind, Response};
use super::server::{Server, milliseconds};

/// How long a terminal's last output is waited for after its process has ended, milliseconds.
const TERMINAL_GRACE: u64 = 200;

impl Server {
    /// Makes a process's end known to its clients, those who wait for it, and all who listen.
    pub(super) fn finish(&mut self, number: u32) {
        let now = self.clock.now();
        let Some(held) = self.processes.get_mut(&number) else { return };
        let Some(status) = held.ended.clone().filter(|_| held.exit.is_none()) else { return };
        if let Some(Err(error)) = held.log.as_mut().map(|log| log.finish(now)) {
            note!("write the log of {}: {error}", held.container);
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
        let is_first = exec.is_none();
        self.announce(&Event::Exited { container: container.clone(), exec, status });
        if is_first {
            self.step_ending(&container);
            self.stop_if_done();
        } else {
            self.forget_deleted(number);
        }
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
}

//! The shim's own end: because somebody asks for it, or because the machine goes down.
//!
//! Told by a signal it does what the engine would have done: each container gets its stop signal
//! and its time, then it is killed; how it ended is written down, and with the last one the shim
//! ends. So a machine goes down in order though nobody is left who could ask for it.

use super::protocol::{Failure, Response};
use super::requests::wrong_state;
use super::server::{Server, milliseconds};
use crate::sys::signal;

/// How long a container may take to stop where nobody says, milliseconds.
const GRACE: u64 = 10_000;

/// How long clients may take to read what they were sent last, milliseconds.
const FAREWELL: u64 = 2_000;

/// That the shim is about to end.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// Whether a signal said so; else somebody asked, and is answered.
    by_signal: bool,
    askers: Vec<u32>,
    /// Set when there is nothing left to do: when clients are no longer waited for.
    farewell: Option<u64>,
}

impl Server {
    /// Whether the loop ends.
    pub(super) fn is_done(&self) -> bool {
        let farewell = self.stopping.as_ref().and_then(|stopping| stopping.farewell);
        farewell.is_some_and(|until| {
            until <= milliseconds() || self.peers.values().all(|peer| peer.waiting() == 0)
        })
    }

    /// Whether the machine goes down.
    pub(super) fn is_told_to_stop(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| stopping.by_signal)
    }

    /// Refuses what begins something while the shim is about to end.
    pub(super) fn refuse_if_stopping(&self) -> Result<(), Failure> {
        match self.stopping {
            Some(_) => Err(wrong_state("the sandbox is being stopped".to_owned())),
            None => Ok(()),
        }
    }

    /// Ends everything and then the shim, and answers.
    pub(super) fn shut_down(&mut self, asker: u32) {
        let all: Vec<String> = self.containers.keys().cloned().collect();
        for id in all {
            self.cancel_launches(&id, "the sandbox is being removed");
            self.begin_ending(&id, None, None);
        }
        let stopping = self.stopping.get_or_insert_default();
        stopping.by_signal = false;
        stopping.askers.push(asker);
        self.stop_if_done();
    }

    /// Asks every container to stop; with the last one the shim ends.
    pub(super) fn begin_stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        let all: Vec<String> = self.containers.keys().cloned().collect();
        self.stopping = Some(Stopping { by_signal: true, ..Stopping::default() });
        for id in all {
            self.ask_to_stop(&id);
        }
        self.stop_if_done();
    }

    /// Ends the shim if it is to end and there is nothing left to wait for.
    pub(super) fn stop_if_done(&mut self) {
        let Some(stopping) = &self.stopping else { return };
        let is_over = if stopping.by_signal {
            let runs = |held: &super::process::Held| held.exec.is_none() && held.exit.is_none();
            self.launches.is_empty() && !self.processes.values().any(runs)
        } else {
            // One whose end has failed is left to the kernel, which ends it with the shim.
            self.containers.values().all(|container| container.ending.is_none())
        };
        if !is_over || stopping.farewell.is_some() {
            return;
        }
        let told = stopping.by_signal;
        let askers = match &mut self.stopping {
            Some(stopping) => {
                stopping.farewell = Some(milliseconds() + FAREWELL);
                std::mem::take(&mut stopping.askers)
            }
            None => Vec::new(),
        };
        for asker in askers {
            self.answer(asker, &Response::Ok);
        }
        if told {
            // Processes that outlived the first ones.
            let all: Vec<String> = self.containers.keys().cloned().collect();
            for id in all {
                if self.containers[&id].cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
                    self.end(&id);
                }
                let _ = self.containers[&id].cgroup.try_remove();
            }
        }
    }

    /// Kills containers that did not stop in time.
    pub(super) fn look_at_stops(&mut self, now: u64) {
        let late: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.stop_deadline.is_some_and(|deadline| deadline <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in late {
            self.end(&id);
            if let Some(container) = self.containers.get_mut(&id) {
                container.stop_deadline = None;
            }
        }
    }

    fn ask_to_stop(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if container.ending.is_some() {
            return;
        }
        let first = container.process;
        let runs = !self.launches.contains_key(&first);
        let Some(held) = self.processes.get(&first).filter(|_| runs) else {
            // Its program has not begun: there is nothing that could stop in order.
            self.cancel_launches(id, "the sandbox is being stopped");
            return self.begin_ending(id, None, None);
        };
        if held.ended.is_some() {
            return;
        }
        container.stop_deadline = Some(milliseconds().saturating_add(container.stop.grace.unwrap_or(GRACE)));
        if container.paused {
            // A frozen process hears no signal.
            container.paused = false;
            let _ = container.cgroup.ask_frozen(false);
        }
        let _ = signal::send(held.pidfd(), container.stop.signal.unwrap_or(libc::SIGTERM));
    }
}

impl Stopping {
    /// When it has to be looked at, in milliseconds of the monotonic clock.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.farewell
    }
}

//! Signals, freezing, forgetting, and the shim's own end.

use std::os::fd::AsFd;

use super::super::container::Changing;
use super::super::launching::Stage;
use super::super::protocol::{Event, ExitStatus, Failure, FailureKind, Response};
use super::super::server::Server;
use super::{internal, not_found, wrong_state};
use crate::launch::HookRun;
use crate::spec::{Hook, Hooks, State, Status, VERSION};
use crate::sys::signal;

impl Server {
    pub(super) fn kill(
        &mut self,
        id: &str,
        exec: Option<&str>,
        number: i32,
        all: bool,
    ) -> Result<(), Failure> {
        if !(0..=64).contains(&number) {
            return Err(Failure { kind: FailureKind::Invalid, message: format!("{number} is no signal") });
        }
        let container = self.containers.get(id).ok_or_else(|| not_found(id, exec))?;
        if all {
            let result = if number == libc::SIGKILL {
                container.cgroup.kill_all()
            } else {
                container.cgroup.signal_all(number)
            };
            return result.map_err(Failure::from);
        }
        let held = &self.processes[&self.number(id, exec)?];
        if held.ended.is_some() {
            return Err(wrong_state(format!("container {id} has no such running process")));
        }
        signal::send(held.pidfd(), number).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => wrong_state(format!("container {id} has no such running process")),
            _ => internal(format!("send signal {number} to container {id}: {error}")),
        })
    }

    /// Freezes a container or lets it go on; `peer` is answered when it stands still or runs.
    pub(super) fn set_paused(&mut self, peer: u32, id: &str, paused: bool) -> Result<(), Failure> {
        let container = self.containers.get(id).ok_or_else(|| not_found(id, None))?;
        let status = self.status(container);
        let expected = if paused { Status::Running } else { Status::Paused };
        if status != expected || container.changing.is_some() {
            return Err(wrong_state(format!("container {id} is {status}, not {expected}")));
        }
        let is_there = container.cgroup.ask_frozen(paused)?;
        if is_there {
            self.changed(peer, id, paused);
        } else if let Some(container) = self.containers.get_mut(id) {
            container.changing = Some(Changing::begin(paused, peer));
        }
        Ok(())
    }

    /// Looks at containers that are being frozen or thawed.
    pub(in super::super) fn look_at_changes(&mut self, now: u64) {
        let due: Vec<String> = self
            .containers
            .iter()
            .filter(|(_, container)| container.changing.as_ref().is_some_and(|changing| changing.look <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some(container) = self.containers.get_mut(&id) else { continue };
            let Some(mut changing) = container.changing.take() else { continue };
            let (paused, peer) = (changing.paused, changing.asker);
            match container.cgroup.ask_frozen(paused) {
                Ok(true) => self.changed(peer, &id, paused),
                Ok(false) if now < changing.deadline => {
                    changing.look = now + 1;
                    container.changing = Some(changing);
                }
                Ok(false) => {
                    if paused {
                        // Better running than half frozen.
                        let _ = container.cgroup.ask_frozen(false);
                    }
                    let what = if paused { "freeze" } else { "thaw" };
                    let message = format!("{what} container {id}: some of its processes do not react");
                    self.answer(peer, &Response::Error(internal(message)));
                }
                Err(error) => self.answer(peer, &Response::Error(error.into())),
            }
        }
    }

    fn changed(&mut self, peer: u32, id: &str, paused: bool) {
        if let Some(container) = self.containers.get_mut(id) {
            container.paused = paused;
        }
        let container = id.to_owned();
        self.announce(&if paused { Event::Paused { container } } else { Event::Resumed { container } });
        self.answer(peer, &Response::Ok);
    }

    /// Forgets a container or a further process; `peer` is answered when it is gone.
    pub(super) fn delete(
        &mut self,
        peer: u32,
        id: &str,
        exec: Option<&str>,
        force: bool,
    ) -> Result<Option<Response>, Failure> {
        let container = self.containers.get(id).ok_or_else(|| not_found(id, None))?;
        let not_stopped = || wrong_state(format!("container {id} has not stopped"));
        let Some(exec) = exec else {
            let stage = self.launches.get(&container.process).map(|launching| launching.stage);
            let is_over = match stage {
                Some(Stage::Made) => true,
                Some(_) => false,
                None => self.processes.get(&container.process).is_none_or(|held| held.ended.is_some()),
            };
            if !is_over && !force {
                return Err(not_stopped());
            }
            self.cancel_launches(id, "the container is being removed");
            self.begin_ending(id, Some(peer), None);
            return Ok(None);
        };
        let number = container.execs.get(exec).copied().ok_or_else(|| not_found(id, Some(exec)))?;
        let Some(held) = self.processes.get_mut(&number) else { return Err(not_found(id, Some(exec))) };
        if held.ended.is_none() {
            if !force {
                return Err(not_stopped());
            }
            let _ = signal::send(held.pidfd(), libc::SIGKILL);
            held.deleting.push(peer);
            return Ok(None);
        }
        held.deleting.push(peer);
        self.finish(number);
        self.forget_deleted(number);
        Ok(None)
    }

    /// Forgets a further process that has ended, if somebody wants that, and tells.
    pub(in super::super) fn forget_deleted(&mut self, number: u32) {
        let Some(held) = self.processes.get_mut(&number).filter(|held| !held.deleting.is_empty()) else {
            return;
        };
        let askers = std::mem::take(&mut held.deleting);
        if let Some(container) = self.containers.get_mut(&held.container) {
            container.execs.retain(|_, known| *known != number);
        }
        let status = self.forget(number);
        for asker in askers {
            self.answer(asker, &Response::Exit(status.clone()));
        }
    }

    /// Some of a container's hooks, ready to be run; `None` where there are none.
    pub(in super::super) fn hook_run(&self, id: &str, which: impl Fn(&Hooks) -> &[Hook]) -> Option<HookRun> {
        let container = self.containers.get(id)?;
        let hooks = which(&container.profile.hooks);
        let held = self.processes.get(&container.process).filter(|_| !hooks.is_empty())?;
        let state = State {
            oci_version: VERSION.to_owned(),
            id: id.to_owned(),
            status: self.status(container),
            pid: if held.ended.is_some() { 0 } else { held.pid as i32 },
            bundle: container.bundle.clone(),
            annotations: container.profile.annotations.clone(),
        };
        let bytes = serde_json::to_vec(&state).expect("a state has only string keys");
        Some(HookRun::new(hooks.iter().cloned(), &bytes, &container.bundle))
    }

    pub(in super::super) fn forget(&mut self, number: u32) -> Option<ExitStatus> {
        let held = self.processes.remove(&number)?;
        self.unwatch(&held.pidfd);
        for output in held.outputs.iter().flatten().filter(|output| output.watched) {
            self.unwatch(output.fd.as_fd());
        }
        if let Some(input) = held.input.as_ref().filter(|input| input.watched) {
            self.unwatch(&input.fd);
        }
        held.exit
    }
}

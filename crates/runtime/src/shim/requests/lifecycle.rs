//! Signals, freezing, forgetting, and the shim's own end.

use std::os::fd::AsFd;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::super::protocol::{Event, ExitStatus, Failure, FailureKind};
use super::super::server::Server;
use super::{internal, not_found, wrong_state};
use crate::launch::{ProcessError, run_hooks};
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
        let process = self.number(id, exec)?;
        let container = &self.containers[id];
        if all {
            let result = if number == libc::SIGKILL {
                container.cgroup.kill_all()
            } else {
                container.cgroup.signal_all(number)
            };
            return result.map_err(Failure::from);
        }
        let held = &self.processes[&process];
        if held.ended.is_some() {
            return Err(wrong_state(format!("container {id} has no such running process")));
        }
        signal::send(held.pidfd(), number).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => wrong_state(format!("container {id} has no such running process")),
            _ => internal(format!("send signal {number} to container {id}: {error}")),
        })
    }

    pub(super) fn set_paused(&mut self, id: &str, paused: bool) -> Result<(), Failure> {
        let container = self.containers.get_mut(id).ok_or_else(|| not_found(id, None))?;
        let status = container.status(&self.processes[&container.process]);
        let expected = if paused { Status::Running } else { Status::Paused };
        if status != expected {
            return Err(wrong_state(format!("container {id} is {status}, not {expected}")));
        }
        if paused {
            container.cgroup.freeze()?
        } else {
            container.cgroup.thaw()?
        }
        container.paused = paused;
        let container = id.to_owned();
        self.announce(&if paused { Event::Paused { container } } else { Event::Resumed { container } });
        Ok(())
    }

    pub(in super::super) fn delete(
        &mut self,
        id: &str,
        exec: Option<&str>,
        force: bool,
    ) -> Result<Option<ExitStatus>, Failure> {
        let number = self.number(id, exec)?;
        let held = &self.processes[&number];
        let never_started = exec.is_none() && self.containers[id].pending.is_some();
        if held.ended.is_none() {
            if !force && !never_started {
                return Err(wrong_state(format!("container {id} has not stopped")));
            }
            if exec.is_none() {
                self.end(id);
            } else {
                let _ = signal::send(held.pidfd(), libc::SIGKILL);
            }
            let _ = waitid(WaitId::PidFd(held.pidfd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            self.reap(number);
        }
        self.finish(number);
        if let Some(exec) = exec {
            self.containers.get_mut(id).expect("found above").execs.remove(exec);
            return Ok(self.forget(number));
        }
        let container = &self.containers[id];
        // Processes that outlived the first one: they share its process namespace with others.
        if container.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
            self.end(id);
        }
        container.cgroup.remove()?;
        // Nothing can be undone any more: the remaining hooks run all the same.
        for failure in self.run_hooks(id, |hooks| hooks.poststop.as_slice()) {
            eprintln!("gantry shim: container {id}: {}", base::error::chain(&failure));
        }
        let container = self.containers.remove(id).expect("found above");
        if let Some(oom) = &container.oom {
            self.unwatch(oom);
        }
        for exec in container.execs.values() {
            self.reap(*exec);
            self.forget(*exec);
        }
        let status = self.forget(number);
        Ok(status.filter(|_| !never_started))
    }

    pub(super) fn shut_down(&mut self) {
        let all: Vec<String> = self.containers.keys().cloned().collect();
        for id in all {
            if let Err(failure) = self.delete(&id, None, true) {
                eprintln!("gantry shim: delete container {id}: {failure}");
            }
        }
        self.stopping = true;
    }

    /// Runs some of a container's hooks one after another, as far as the caller asks for what
    /// became of them; gives those that failed.
    pub(super) fn run_hooks(
        &self,
        id: &str,
        which: impl Fn(&Hooks) -> &[Hook],
    ) -> impl Iterator<Item = ProcessError> {
        let container = &self.containers[id];
        let hooks = which(&container.profile.hooks);
        let held = &self.processes[&container.process];
        let state = State {
            oci_version: VERSION.to_owned(),
            id: id.to_owned(),
            status: container.status(held),
            pid: if held.ended.is_some() { 0 } else { held.pid as i32 },
            bundle: container.bundle.clone(),
            annotations: container.profile.annotations.clone(),
        };
        let bytes = serde_json::to_vec(&state).expect("a state has only string keys");
        hooks
            .iter()
            .filter_map(move |hook| run_hooks(std::slice::from_ref(hook), &bytes, &container.bundle).err())
    }

    /// Kills every process of a container, frozen ones too.
    pub(super) fn end(&self, id: &str) {
        let container = &self.containers[id];
        let held = &self.processes[&container.process];
        let _ = signal::send(held.pidfd(), libc::SIGKILL);
        if let Err(error) = container.cgroup.kill_all() {
            eprintln!("gantry shim: kill container {id}: {}", base::error::chain(&error));
        }
        if container.paused {
            let _ = container.cgroup.thaw();
        }
    }

    fn forget(&mut self, number: u32) -> Option<ExitStatus> {
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

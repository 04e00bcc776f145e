//! The end of a container, as far as it takes its time: killing, waiting, clearing away, hooks.
//!
//! A process that was killed ends when the kernel lets it: one that waits for a disk that does not
//! answer may never. So nobody waits for it here; each thing that happens, and a clock, takes the
//! ending a step further, and whoever asked is told when it is done or has taken too long.

use super::launching::hook_deadline;
use super::notes::note;
use super::protocol::{Failure, Response};
use super::requests::internal;
use super::server::{Server, Wake, milliseconds};
use crate::launch::HookRun;
use crate::sys::signal;

/// How long the processes of a container may take to end once they were killed, milliseconds.
const LIMIT: u64 = 8_000;

/// How often what has no event of its own is looked at, milliseconds: from, to.
const LOOKS: (u64, u64) = (1, 64);

/// The end of a container.
#[derive(Debug)]
pub(super) struct Ending {
    askers: Vec<u32>,
    /// Why it was never made; those who ask are told this instead of how it ended.
    failure: Option<Failure>,
    deadline: u64,
    /// When it is looked at next, and how long after the last look that is.
    look: (u64, u64),
    hooks: Option<HookRun>,
    /// Whether its cgroup is gone: what follows cannot be undone.
    cleared: bool,
}

impl Server {
    /// Kills a container, clears it away and forgets it; then answers with how it ended, or with
    /// `failure`.
    pub(super) fn begin_ending(&mut self, id: &str, asker: Option<u32>, failure: Option<Failure>) {
        let Some(container) = self.containers.get_mut(id) else {
            if let (Some(asker), Some(failure)) = (asker, failure) {
                self.answer(asker, &Response::Error(failure));
            }
            return;
        };
        if let Some(ending) = &mut container.ending {
            ending.askers.extend(asker);
            return;
        }
        let now = milliseconds();
        container.ending = Some(Ending {
            askers: asker.into_iter().collect(),
            failure,
            deadline: now + LIMIT,
            look: (now, LOOKS.0),
            hooks: None,
            cleared: false,
        });
        let first = container.process;
        let is_over = self.processes.get(&first).is_some_and(|held| held.ended.is_some());
        if is_over {
            // Its last output is not waited for any longer.
            self.finish(first);
        } else {
            self.end(id);
        }
        self.step_ending(id);
    }

    /// Takes the end of a container as far as it can be taken now.
    pub(super) fn step_ending(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        let Some(ending) = &container.ending else { return };
        if !ending.cleared {
            let lives = self.processes.get(&container.process).is_some_and(|held| held.exit.is_none());
            let strays = self.strays.values().any(|stray| stray.container.as_deref() == Some(id));
            if lives || strays {
                return self.look_again(id);
            }
            // Processes that outlived the first one: they share its process namespace with others.
            if container.cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
                self.end(id);
                return self.look_again(id);
            }
            match container.cgroup.try_remove() {
                Ok(true) => {}
                Ok(false) => return self.look_again(id),
                Err(error) => return self.ending_failed(id, error.into()),
            }
            // One that was never made has no end that hooks could follow.
            let hooks = self
                .processes
                .get(&container.process)
                .and_then(|_| self.hook_run(id, |hooks| hooks.poststop.as_slice()));
            let Some(ending) = self.ending(id) else { return };
            ending.cleared = true;
            ending.hooks = hooks;
        }
        while let Some(hooks) = self.ending(id).and_then(|ending| ending.hooks.as_mut()) {
            match hooks.step() {
                Ok(true) => break,
                Ok(false) => {
                    let hooks = self.containers[id].ending.as_ref().and_then(|ending| ending.hooks.as_ref());
                    let number = self.containers[id].process;
                    match self.watch_hooks(hooks, Wake::EndHooks(number)) {
                        Ok(()) => return,
                        Err(error) => note!("container {id}: watch a hook: {error}"),
                    }
                    break;
                }
                // Nothing can be undone any more: the remaining hooks run all the same.
                Err(error) => note!("container {id}: {}", base::error::chain(&error)),
            }
        }
        self.ended(id);
    }

    /// Looks at the ends of containers for which it is time.
    pub(super) fn look_at_endings(&mut self, now: u64) {
        let due: Vec<(String, bool)> = self
            .containers
            .iter()
            .filter_map(|(id, container)| {
                let ending = container.ending.as_ref()?;
                let late = ending.deadline <= now;
                (late || ending.next_deadline() <= now).then(|| (id.clone(), late))
            })
            .collect();
        for (id, late) in due {
            let cleared = self.containers[&id].ending.as_ref().is_some_and(|ending| ending.cleared);
            match (late, cleared) {
                (true, false) => {
                    let message = format!("the processes of container {id} were killed and do not end");
                    self.ending_failed(&id, internal(message));
                }
                // Hooks that run too long are left alone: the container is gone.
                (true, true) => self.ended(&id),
                (false, _) => self.step_ending(&id),
            }
        }
    }

    /// Kills every process of a container, frozen ones too.
    pub(super) fn end(&self, id: &str) {
        let Some(container) = self.containers.get(id) else { return };
        if let Some(held) = self.processes.get(&container.process) {
            let _ = signal::send(held.pidfd(), libc::SIGKILL);
        }
        if let Err(error) = container.cgroup.kill_all() {
            note!("kill container {id}: {}", base::error::chain(&error));
        }
    }

    fn ending(&mut self, id: &str) -> Option<&mut Ending> {
        self.containers.get_mut(id)?.ending.as_mut()
    }

    fn look_again(&mut self, id: &str) {
        let now = milliseconds();
        if let Some(ending) = self.ending(id) {
            let (at, pause) = ending.look;
            if at <= now {
                ending.look = (now + pause, (pause * 2).min(LOOKS.1));
            }
        }
    }

    /// Says that a container could not be ended, and keeps it.
    fn ending_failed(&mut self, id: &str, failure: Failure) {
        let Some(ending) = self.containers.get_mut(id).and_then(|container| container.ending.take()) else {
            return;
        };
        note!("end container {id}: {failure}");
        for asker in ending.askers {
            self.answer(asker, &Response::Error(failure.clone()));
        }
        self.stop_if_done();
    }

    /// A container is gone: forgets it and tells.
    fn ended(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else { return };
        if let Some(oom) = &container.oom {
            self.unwatch(oom);
        }
        for exec in container.execs.values() {
            self.reap(*exec);
            self.forget(*exec);
        }
        let started = self.processes.get(&container.process).is_some_and(|held| held.started_at.is_some());
        let status = self.forget(container.process).filter(|_| started);
        let Some(ending) = container.ending else { return };
        let answer = match ending.failure {
            Some(failure) => Response::Error(failure),
            None => Response::Exit(status),
        };
        for asker in ending.askers {
            self.answer(asker, &answer);
        }
        self.stop_if_done();
    }
}

impl Ending {
    /// When it has to be looked at, in milliseconds of the monotonic clock.
    pub(super) fn next_deadline(&self) -> u64 {
        let next = match &self.hooks {
            Some(hooks) => hook_deadline(hooks).unwrap_or(u64::MAX),
            None => self.look.0,
        };
        next.min(self.deadline)
    }
}

//! Processes between their clone and their program: what they say, and what follows.
//!
//! ```text
//!  container:  making ──Made──▶ made ──start──▶ starting ──Executed──▶ (hooks) ──▶ its own
//!  exec:       making ──Executed──▶ its own
//! ```
//!
//! Whoever asked is answered when the process has got there, has failed, or takes too long. The
//! shim does not wait meanwhile: what a process does before its program runs depends on files of
//! its image, on its memory and on whoever freezes it, and may take for ever.

use std::os::fd::{AsFd, OwnedFd};

use base::Clock;
use rustix::event::epoll::EventFlags;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::process::Prepared;
use super::protocol::{Failure, FailureKind, Response, Streams};
use super::requests::internal;
use super::server::{Server, Wake, milliseconds};
use crate::launch::{HookRun, Making, ProcessError, Progress};
use crate::sys::memory;

/// How long a process may take to its program where whoever asks says nothing else, milliseconds.
const LIMIT: u64 = 60_000;

/// A process on its way to its program.
pub(super) struct Launching {
    pub(super) container: String,
    /// Its name, unless it is the container's first one.
    pub(super) exec: Option<String>,
    pub(super) stage: Stage,
    making: Making,
    /// Its streams, until the process is held by itself.
    streams: Option<Prepared>,
    hooks: Option<HookRun>,
    /// Who asked, and is answered.
    asker: Option<u32>,
    /// What the asker's connection becomes.
    attach: Option<Streams>,
    /// When it is given up, and after how many milliseconds that is.
    deadline: Option<(u64, u64)>,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It makes its surroundings.
    Making,
    /// It waits to be started.
    Made,
    /// It was told to start its program.
    Starting,
    /// Its program runs; the hooks that follow do too.
    Following,
}

/// A process that is only waited for.
pub(super) struct Stray {
    pidfd: OwnedFd,
    /// The container that is not gone before it is.
    pub(super) container: Option<String>,
}

impl Server {
    /// Watches over a process that was begun; `number` is its own.
    pub(super) fn follow(
        &mut self,
        number: u32,
        making: Making,
        streams: Prepared,
        asker: u32,
        attach: Option<Streams>,
        limit: Option<u64>,
    ) -> Result<(), Failure> {
        let (container, exec) = streams.whose();
        let limit = limit.unwrap_or(LIMIT);
        let watched = making.set_nonblocking().map_err(Failure::from).and_then(|()| {
            self.watch(&making, Wake::Launch(number), EventFlags::IN)
                .map_err(|error| internal(format!("watch a new process: {error}")))
        });
        if let Err(failure) = watched {
            self.leave(making.abandon(), exec.is_none().then_some(container));
            return Err(failure);
        }
        let launching = Launching {
            container,
            exec,
            stage: Stage::Making,
            making,
            streams: Some(streams),
            hooks: None,
            asker: Some(asker),
            attach,
            deadline: Some((milliseconds().saturating_add(limit), limit)),
        };
        self.launches.insert(number, launching);
        Ok(())
    }

    /// Releases a container's first process, which is made.
    pub(super) fn release(&mut self, number: u32, asker: u32, limit: Option<u64>) -> Result<(), Failure> {
        let Some(launching) = self.launches.get_mut(&number) else { return Ok(()) };
        launching.making.release()?;
        let limit = limit.unwrap_or(LIMIT);
        launching.stage = Stage::Starting;
        launching.asker = Some(asker);
        launching.deadline = Some((milliseconds().saturating_add(limit), limit));
        Ok(())
    }

    /// Takes in what a new process has said.
    pub(super) fn hear(&mut self, number: u32) {
        loop {
            let Some(launching) = self.launches.get_mut(&number) else { return };
            if launching.stage == Stage::Following {
                return;
            }
            let heard = launching.making.hear();
            if let Some(helper) = launching.making.take_stage() {
                self.leave([helper], None);
            }
            match heard {
                Ok(Progress::Waiting) => return,
                Ok(Progress::Hooks) => self.run_early_hooks(number),
                Ok(Progress::Made) => self.made(number),
                Ok(Progress::Executed) => return self.executed(number),
                Err(error) => {
                    // It ends by itself, with a code that says why, unless somebody else has spoken for it.
                    let kill = matches!(error, ProcessError::Interfered);
                    return self.launch_failed(number, error.into(), kill);
                }
            }
        }
    }

    /// A hook has ended, or takes too long.
    pub(super) fn step_hooks(&mut self, number: u32) {
        let Some(launching) = self.launches.get_mut(&number) else { return };
        let Some(hooks) = &mut launching.hooks else { return };
        match hooks.step() {
            Ok(false) => {
                let hooks = self.launches.get(&number).and_then(|launching| launching.hooks.as_ref());
                if let Err(error) = self.watch_hooks(hooks, Wake::Hooks(number)) {
                    self.launch_failed(number, internal(format!("watch a hook: {error}")), true);
                }
            }
            Ok(true) => {
                launching.hooks = None;
                match launching.stage {
                    Stage::Following => self.launched(number),
                    _ => {
                        if let Err(error) = launching.making.hooks_done() {
                            self.launch_failed(number, error.into(), true);
                        }
                    }
                }
            }
            Err(error) => self.launch_failed(number, error.into(), true),
        }
    }

    /// Watches the hook that runs, which may be another one than before.
    pub(super) fn watch_hooks(&self, hooks: Option<&HookRun>, wake: Wake) -> std::io::Result<()> {
        let Some(pidfd) = hooks.and_then(HookRun::pidfd) else { return Ok(()) };
        // Its number may be that of the one before, and watched already.
        self.unwatch(pidfd);
        self.watch(pidfd, wake, EventFlags::IN)
    }

    /// Gives up what takes too long.
    pub(super) fn give_up_late_launches(&mut self, now: u64) {
        let is_late = |launching: &Launching| launching.deadline.is_some_and(|(deadline, _)| deadline <= now);
        let late: Vec<(u32, u64)> = self
            .launches
            .iter()
            .filter(|(_, launching)| is_late(launching))
            .filter_map(|(number, launching)| Some((*number, launching.deadline?.1)))
            .collect();
        for (number, limit) in late {
            let message = format!(
                "the process did not get to its program within {} s and was given up",
                limit as f64 / 1000.0
            );
            self.launch_failed(number, Failure { kind: FailureKind::Internal, message }, true);
        }
        let hooks: Vec<u32> = self
            .launches
            .iter()
            .filter(|(_, launching)| launching.hook_deadline().is_some_and(|deadline| deadline <= now))
            .map(|(number, _)| *number)
            .collect();
        for number in hooks {
            self.step_hooks(number);
        }
    }

    /// Ends every launch in a container: whoever asked is told `message`.
    pub(super) fn cancel_launches(&mut self, container: &str, message: &str) {
        let numbers: Vec<u32> = self
            .launches
            .iter()
            .filter(|(_, launching)| launching.container == container)
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            let failure = Failure { kind: FailureKind::State, message: message.to_owned() };
            self.drop_launch(number, failure);
        }
    }

    /// An asker has gone. A process that nobody will ever hear of again does not come to be.
    pub(super) fn forget_asker(&mut self, peer: u32) {
        let asked: Vec<(u32, bool)> = self
            .launches
            .iter()
            .filter(|(_, launching)| launching.asker == Some(peer))
            .map(|(number, launching)| (*number, launching.exec.is_some()))
            .collect();
        for (number, is_exec) in asked {
            if is_exec {
                self.drop_launch(number, internal("the asker has gone".to_owned()));
            } else if let Some(launching) = self.launches.get_mut(&number) {
                launching.asker = None;
            }
        }
    }

    /// Waits for processes that are of no more interest.
    pub(super) fn leave(&mut self, pidfds: impl IntoIterator<Item = OwnedFd>, container: Option<String>) {
        for pidfd in pidfds {
            if has_ended(&pidfd) {
                continue;
            }
            let number = self.next_number();
            if self.watch(&pidfd, Wake::Stray(number), EventFlags::IN).is_ok() {
                self.strays.insert(number, Stray { pidfd, container: container.clone() });
            }
        }
    }

    /// A process that is only waited for has ended.
    pub(super) fn reap_stray(&mut self, number: u32) {
        let Some(stray) = self.strays.get(&number).filter(|stray| has_ended(&stray.pidfd)) else { return };
        self.unwatch(&stray.pidfd);
        let container = self.strays.remove(&number).and_then(|stray| stray.container);
        if let Some(container) = container {
            self.step_ending(&container);
        }
    }

    fn run_early_hooks(&mut self, number: u32) {
        let Some(launching) = self.launches.get_mut(&number) else { return };
        let Some(container) = self.containers.get(&launching.container) else { return };
        let hooks = &container.profile.hooks;
        let all = hooks.prestart.iter().chain(&hooks.create_runtime).cloned();
        launching.hooks = Some(HookRun::new(all, launching.making.state(), &container.bundle));
        self.step_hooks(number);
    }

    /// A container is made.
    fn made(&mut self, number: u32) {
        match self.hold(number, None) {
            Ok(pid) => {
                let Some(launching) = self.launches.get_mut(&number) else { return };
                launching.stage = Stage::Made;
                launching.deadline = None;
                if let Some(asker) = launching.asker.take() {
                    self.answer(asker, &Response::Pid(pid));
                }
            }
            Err(failure) => self.launch_failed(number, failure, true),
        }
    }

    /// The program of a process runs.
    fn executed(&mut self, number: u32) {
        let Some(launching) = self.launches.get_mut(&number) else { return };
        let _ = rustix::event::epoll::delete(&self.epoll, &launching.making);
        if launching.exec.is_some() {
            return match self.hold(number, Some(self.clock.now())) {
                Ok(_) => self.launched(number),
                Err(failure) => self.launch_failed(number, failure, true),
            };
        }
        launching.stage = Stage::Following;
        let id = launching.container.clone();
        if let Some(held) = self.processes.get_mut(&number) {
            held.started_at = Some(self.clock.now());
        }
        let hooks = self.hook_run(&id, |hooks| hooks.poststart.as_slice());
        match hooks {
            Some(hooks) => {
                if let Some(launching) = self.launches.get_mut(&number) {
                    launching.hooks = Some(hooks);
                }
                self.step_hooks(number);
            }
            None => self.launched(number),
        }
    }

    /// All is done: answers.
    fn launched(&mut self, number: u32) {
        let Some(launching) = self.launches.remove(&number) else { return };
        let Some(pid) = self.processes.get(&number).map(|held| held.pid) else { return };
        let Launching { container, exec, asker, attach, .. } = launching;
        self.started(&container, exec.as_deref(), pid);
        if let Some(asker) = asker {
            // The answer first: what follows it on this connection is the process's.
            self.answer(asker, &Response::Pid(pid));
            if let Some(streams) = attach {
                self.attach(asker, number, streams);
            }
        }
        if exec.is_none() {
            memory::give_back();
        }
    }

    /// Makes the process one that is held by itself; gives its number as the host counts.
    fn hold(&mut self, number: u32, started_at: Option<base::Timestamp>) -> Result<u32, Failure> {
        let gone = || internal("the new process was lost".to_owned());
        let launching = self.launches.get_mut(&number).ok_or_else(gone)?;
        let started = launching.making.take_started().ok_or_else(gone)?;
        let streams = launching.streams.take().ok_or_else(gone)?;
        let (container, exec) = (launching.container.clone(), launching.exec.clone());
        let pid = started.pid;
        let held = match streams.hold(started, started_at) {
            Ok(held) => held,
            Err((failure, pidfd)) => {
                self.leave([pidfd], exec.is_none().then_some(container));
                return Err(failure);
            }
        };
        let watched = self.watch(&held.pidfd, Wake::Exit(number), EventFlags::IN);
        self.processes.insert(number, held);
        if let Some(exec) = exec
            && let Some(container) = self.containers.get_mut(&container)
        {
            container.execs.insert(exec, number);
        }
        watched.map_err(|error| internal(format!("watch a new process: {error}")))?;
        Ok(pid)
    }

    /// A process did not get to its program; `kill` where it would not end by itself.
    fn launch_failed(&mut self, number: u32, failure: Failure, kill: bool) {
        let Some(launching) = self.launches.get_mut(&number) else { return };
        if launching.exec.is_some() {
            return self.drop_launch(number, failure);
        }
        let id = launching.container.clone();
        match launching.stage {
            // Nobody has asked for anything: how it ended is found out by its own end.
            Stage::Made => self.drop_launch(number, failure),
            Stage::Making => {
                let asker = launching.asker.take();
                self.drop_launch(number, failure.clone());
                self.begin_ending(&id, asker, Some(failure));
            }
            Stage::Starting | Stage::Following => {
                if kill {
                    self.end(&id);
                }
                self.drop_launch(number, failure);
            }
        }
    }

    /// Lets go of a launch and kills what it has not handed on; whoever asked is told why.
    fn drop_launch(&mut self, number: u32, failure: Failure) {
        let Some(launching) = self.launches.remove(&number) else { return };
        self.unwatch(&launching.making);
        if let Some(pidfd) = launching.hooks.as_ref().and_then(HookRun::pidfd) {
            self.unwatch(pidfd);
        }
        let Launching { container, exec, asker, making, hooks, .. } = launching;
        drop(hooks);
        if let Some(container) = self.containers.get_mut(&container)
            && exec.is_some()
            && let Some(held) = self.processes.get(&number)
        {
            // It was held by itself already and is of no use to anybody.
            let _ = crate::sys::signal::send(held.pidfd(), libc::SIGKILL);
            container.execs.retain(|_, known| *known != number);
        }
        self.leave(making.abandon(), exec.is_none().then_some(container));
        if let Some(asker) = asker {
            self.answer(asker, &Response::Error(failure));
        }
    }
}

impl Launching {
    /// When something has to be looked at, in milliseconds of the monotonic clock.
    pub(super) fn next_deadline(&self) -> Option<u64> {
        let own = self.deadline.map(|(deadline, _)| deadline);
        own.into_iter().chain(self.hook_deadline()).min()
    }

    fn hook_deadline(&self) -> Option<u64> {
        self.hooks.as_ref().and_then(hook_deadline)
    }
}

/// When a hook takes too long, in milliseconds of the monotonic clock.
pub(super) fn hook_deadline(hooks: &HookRun) -> Option<u64> {
    let left = hooks.deadline()?.saturating_duration_since(std::time::Instant::now());
    Some(milliseconds().saturating_add(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)))
}

fn has_ended(pidfd: &OwnedFd) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    !matches!(waitid(WaitId::PidFd(pidfd.as_fd()), options), Ok(None))
}

//! What each request does.

mod create;
mod exec;
mod lifecycle;
mod streams;

use base::error::chain;

use super::EXIT_FILE;
use super::descriptors::Descriptors;
use super::peer::Mode;
use super::protocol::{
    ContainerState, Event, ExecState, ExitStatus, Failure, FailureKind, Request, Response, Sandbox, Streams,
    VERSION,
};
use super::server::Server;
use crate::cgroup::CgroupError;
use crate::launch::ProcessError;

impl Server {
    /// Does what a client asks and answers it.
    pub(super) fn request(&mut self, peer: u32, request: Request) {
        // Those that nobody announced are closed.
        let passed = self.peers.get_mut(&peer).map(|peer| std::mem::take(&mut peer.descriptors));
        let result = match request {
            Request::State => Ok(Some(Response::Sandbox(self.sandbox()))),
            Request::CreateContainer { container, bundle, rootfs, stdio, descriptors } => {
                Descriptors::received(descriptors, passed.unwrap_or_default())
                    .and_then(|given| self.create_container(container, bundle, &rootfs, stdio, given))
                    .map(|pid| Some(Response::Pid(pid)))
            }
            Request::StartContainer { container } => {
                self.start_container(&container).map(|pid| Some(Response::Pid(pid)))
            }
            Request::Kill { container, exec, signal, all } => {
                done(self.kill(&container, exec.as_deref(), signal, all))
            }
            Request::Exec { container, exec, process, stdio, attach } => {
                self.exec(peer, container, exec, process, stdio, attach)
            }
            Request::ResizeTty { container, exec, size } => {
                done(self.number(&container, exec.as_deref()).and_then(|number| {
                    self.processes[&number].resize(size).map_err(|error| Failure {
                        kind: FailureKind::State,
                        message: format!("resize the terminal: {error}"),
                    })
                }))
            }
            Request::Pause { container } => done(self.set_paused(&container, true)),
            Request::Resume { container } => done(self.set_paused(&container, false)),
            Request::Update { container, resources } => done(
                self.cgroup(&container).and_then(|cgroup| cgroup.apply(&resources).map_err(Failure::from)),
            ),
            Request::Delete { container, exec, force } => {
                self.delete(&container, exec.as_deref(), force).map(|status| Some(Response::Exit(status)))
            }
            Request::Attach { container, exec, streams } => {
                self.number(&container, exec.as_deref()).map(|number| {
                    self.answer(peer, &Response::Ok);
                    self.attach(peer, number, streams);
                    None
                })
            }
            Request::Wait { container, exec } => self.wait_for(peer, &container, exec.as_deref()),
            Request::Subscribe => {
                self.answer(peer, &Response::Ok);
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.mode = Mode::Events;
                }
                Ok(None)
            }
            Request::Stats { container } => self
                .cgroup(&container)
                .and_then(|cgroup| cgroup.stats().map_err(Failure::from))
                .map(|stats| Some(Response::Stats(Box::new(stats)))),
            Request::Pids { container } => self
                .cgroup(&container)
                .and_then(|cgroup| cgroup.pids().map_err(Failure::from))
                .map(|pids| Some(Response::Pids(pids))),
            Request::ReopenLog { container } => done(self.reopen_log(&container)),
            Request::Shutdown => {
                self.shut_down();
                Ok(Some(Response::Ok))
            }
        };
        match result {
            Ok(Some(response)) => self.answer(peer, &response),
            Ok(None) => {}
            Err(failure) => self.answer(peer, &Response::Error(failure)),
        }
    }

    /// Keeps how a container ended, so that it is known also to a daemon that was away.
    pub(super) fn keep_exit(&self, container: &str, status: &ExitStatus) {
        let directory = self.identity.state_dir.join(container);
        let bytes = serde_json::to_vec(status).expect("a status has only string keys");
        let kept = std::fs::create_dir_all(&directory)
            .and_then(|()| base::fs::write_atomic_unsynced(&directory.join(EXIT_FILE), &bytes, 0o600));
        if let Err(error) = kept {
            eprintln!("gantry shim: keep the exit of {container}: {error}");
        }
    }

    /// Turns a connection into the streams of a process.
    pub(super) fn attach(&mut self, id: u32, number: u32, streams: Streams) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(held) = self.processes.get_mut(&number) else { return };
        peer.mode = Mode::Stream { process: number, streams };
        if let Some(status) = &held.exit {
            peer.push(
                super::protocol::Kind::Exited,
                &serde_json::to_vec(status).expect("a status has only string keys"),
            );
            peer.closing = true;
        } else {
            held.attached.push(id);
        }
    }

    fn wait_for(
        &mut self,
        peer: u32,
        container: &str,
        exec: Option<&str>,
    ) -> Result<Option<Response>, Failure> {
        let number = self.number(container, exec)?;
        let held = self.processes.get_mut(&number).expect("numbers are of held processes");
        if let Some(status) = &held.exit {
            return Ok(Some(Response::Exit(Some(status.clone()))));
        }
        held.waiting.push(peer);
        Ok(None)
    }

    fn sandbox(&self) -> Sandbox {
        let containers = self.containers.iter().map(|(id, container)| {
            let held = &self.processes[&container.process];
            let execs = container.execs.iter().map(|(id, number)| {
                let held = &self.processes[number];
                ExecState { id: id.clone(), pid: held.pid, exit: held.exit.clone() }
            });
            ContainerState {
                id: id.clone(),
                pid: held.pid,
                start_time: held.start_time,
                status: container.status(held),
                started_at: held.started_at,
                exit: held.exit.clone(),
                bundle: container.bundle.clone(),
                execs: execs.collect(),
            }
        });
        Sandbox {
            id: self.identity.id.clone(),
            version: VERSION,
            pid: self.identity.pid,
            start_time: self.identity.start_time,
            init_pid: self.identity.init_pid,
            containers: containers.collect(),
        }
    }

    /// The number of a process by its names.
    fn number(&self, container: &str, exec: Option<&str>) -> Result<u32, Failure> {
        let entry = self.containers.get(container).ok_or_else(|| not_found(container, None))?;
        match exec {
            None => Ok(entry.process),
            Some(exec) => entry.execs.get(exec).copied().ok_or_else(|| not_found(container, Some(exec))),
        }
    }

    fn cgroup(&self, container: &str) -> Result<&crate::cgroup::Cgroup, Failure> {
        self.containers.get(container).map(|entry| &entry.cgroup).ok_or_else(|| not_found(container, None))
    }

    fn reopen_log(&mut self, container: &str) -> Result<(), Failure> {
        let number = self.number(container, None)?;
        let held = self.processes.get_mut(&number).expect("numbers are of held processes");
        match held.log.as_mut().map(super::log::Log::reopen) {
            Some(Err(error)) => Err(internal(format!("open the log of {container} again: {error}"))),
            _ => Ok(()),
        }
    }

    fn started(&mut self, container: &str, exec: Option<&str>, pid: u32) {
        let (container, exec) = (container.to_owned(), exec.map(ToOwned::to_owned));
        self.announce(&Event::Started { container, exec, pid });
    }
}

fn done(result: Result<(), Failure>) -> Result<Option<Response>, Failure> {
    result.map(|()| Some(Response::Ok))
}

fn not_found(container: &str, exec: Option<&str>) -> Failure {
    let message = match exec {
        None => format!("no container {container} in this sandbox"),
        Some(exec) => format!("no process {exec} in container {container}"),
    };
    Failure { kind: FailureKind::NotFound, message }
}

fn wrong_state(message: String) -> Failure {
    Failure { kind: FailureKind::State, message }
}

fn internal(message: String) -> Failure {
    Failure { kind: FailureKind::Internal, message }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let kind = match &error {
            ProcessError::Invalid(_) | ProcessError::Seccomp(_) => FailureKind::Invalid,
            ProcessError::ProgramNotFound { .. } => FailureKind::ProgramNotFound,
            ProcessError::ProgramNotExecutable { .. } => FailureKind::ProgramNotExecutable,
            _ => FailureKind::Internal,
        };
        Self { kind, message: chain(&error).to_string() }
    }
}

impl From<CgroupError> for Failure {
    fn from(error: CgroupError) -> Self {
        let kind = match &error {
            CgroupError::Invalid(_) | CgroupError::Path(_) => FailureKind::Invalid,
            _ => FailureKind::Internal,
        };
        Self { kind, message: chain(&error).to_string() }
    }
}

//! What each request does.

mod create;
mod exec;
mod lifecycle;

use base::error::chain;

use super::EXIT_FILE;
use super::container::Container;
use super::descriptors::Descriptors;
use super::launching::Stage;
use super::notes::note;
use super::peer::Mode;
use super::protocol::{
    ContainerState, Event, ExecState, ExitStatus, Failure, FailureKind, Request, Response, Sandbox, Streams,
    VERSION,
};
use super::server::Server;
use crate::cgroup::CgroupError;
use crate::launch::ProcessError;
use crate::spec::Status;

impl Server {
    /// Does what a client asks and answers it.
    pub(super) fn request(&mut self, peer: u32, request: Request) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.busy = true;
        }
        // Those that nobody announced are closed.
        let passed = self.peers.get_mut(&peer).map(|peer| std::mem::take(&mut peer.descriptors));
        let result = match request {
            Request::State => Ok(Some(Response::Sandbox(self.sandbox()))),
            Request::CreateContainer { container, bundle, rootfs, stdio, descriptors, stop, limit } => {
                let stop = stop.unwrap_or_default();
                later(Descriptors::received(descriptors, passed.unwrap_or_default()).and_then(|given| {
                    let order = create::Order { id: container, bundle, rootfs, stdio, given, stop, limit };
                    self.create_container(peer, order)
                }))
            }
            Request::StartContainer { container, limit } => {
                later(self.start_container(peer, &container, limit))
            }
            Request::Kill { container, exec, signal, all } => {
                done(self.kill(&container, exec.as_deref(), signal, all))
            }
            Request::Exec { container, exec, process, stdio, attach, limit } => {
                later(self.exec(peer, exec::Order { container, exec, process, stdio, attach, limit }))
            }
            Request::ResizeTty { container, exec, size } => {
                done(self.number(&container, exec.as_deref()).and_then(|number| {
                    self.processes[&number].resize(size).map_err(|error| Failure {
                        kind: FailureKind::State,
                        message: format!("resize the terminal: {error}"),
                    })
                }))
            }
            Request::Pause { container } => later(self.set_paused(peer, &container, true)),
            Request::Resume { container } => later(self.set_paused(peer, &container, false)),
            Request::Update { container, resources } => done(
                self.cgroup(&container).and_then(|cgroup| cgroup.apply(&resources).map_err(Failure::from)),
            ),
            Request::Delete { container, exec, force } => {
                self.delete(peer, &container, exec.as_deref(), force)
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
                self.shut_down(peer);
                Ok(None)
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
            note!("keep the exit of {container}: {error}");
        }
        let lasting = self.containers.get(container).and_then(|container| container.stop.keep.as_ref());
        if let Some(directory) = lasting.filter(|_| self.is_told_to_stop())
            && let Err(error) = base::fs::write_atomic(&directory.join(EXIT_FILE), &bytes, 0o600)
        {
            note!("keep the exit of {container} for long: {error}");
        }
    }

    /// Turns a connection into the streams of a process.
    pub(super) fn attach(&mut self, id: u32, number: u32, streams: Streams) {
        self.catch_up(id, number, streams);
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
            let held = self.processes.get(&container.process);
            let execs = container.execs.iter().filter_map(|(id, number)| {
                let held = self.processes.get(number)?;
                Some(ExecState { id: id.clone(), pid: held.pid, exit: held.exit.clone() })
            });
            ContainerState {
                id: id.clone(),
                pid: held.map_or(0, |held| held.pid),
                start_time: held.map_or(0, |held| held.start_time),
                status: self.status(container),
                started_at: held.and_then(|held| held.started_at),
                exit: held.and_then(|held| held.exit.clone()),
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

    /// Where a container is in its life.
    pub(super) fn status(&self, container: &Container) -> Status {
        let stage = self.launches.get(&container.process).map(|launching| launching.stage);
        match (self.processes.get(&container.process), stage) {
            (None, _) => Status::Creating,
            (Some(held), _) if held.exit.is_some() || held.ended.is_some() => Status::Stopped,
            (_, Some(Stage::Making | Stage::Made | Stage::Starting)) => Status::Created,
            _ if container.paused => Status::Paused,
            _ => Status::Running,
        }
    }

    /// The number of a process that is held, by its names.
    fn number(&self, container: &str, exec: Option<&str>) -> Result<u32, Failure> {
        let entry = self.containers.get(container).ok_or_else(|| not_found(container, None))?;
        let number = match exec {
            None => entry.process,
            Some(exec) => entry.execs.get(exec).copied().ok_or_else(|| not_found(container, Some(exec)))?,
        };
        if !self.processes.contains_key(&number) {
            return Err(wrong_state(format!("container {container} is not made yet")));
        }
        Ok(number)
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

    pub(super) fn started(&mut self, container: &str, exec: Option<&str>, pid: u32) {
        let (container, exec) = (container.to_owned(), exec.map(ToOwned::to_owned));
        self.announce(&Event::Started { container, exec, pid });
    }
}

fn done(result: Result<(), Failure>) -> Result<Option<Response>, Failure> {
    result.map(|()| Some(Response::Ok))
}

/// What is answered when it is done.
fn later(result: Result<(), Failure>) -> Result<Option<Response>, Failure> {
    result.map(|()| None)
}

fn not_found(container: &str, exec: Option<&str>) -> Failure {
    let message = match exec {
        None => format!("no container {container} in this sandbox"),
        Some(exec) => format!("no process {exec} in container {container}"),
    };
    Failure { kind: FailureKind::NotFound, message }
}

pub(super) fn wrong_state(message: String) -> Failure {
    Failure { kind: FailureKind::State, message }
}

pub(super) fn internal(message: String) -> Failure {
    Failure { kind: FailureKind::Internal, message }
}

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
        let kind = match &error {
            ProcessError::Invalid(_) | ProcessError::Seccomp(_) => FailureKind::Invalid,
            ProcessError::ProgramNotFound(_) => FailureKind::ProgramNotFound,
            ProcessError::ProgramNotExecutable(_) => FailureKind::ProgramNotExecutable,
            ProcessError::Child { source, .. } => match source.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => FailureKind::Missing,
                Some(libc::EACCES | libc::EISDIR) => FailureKind::Denied,
                _ => FailureKind::Internal,
            },
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

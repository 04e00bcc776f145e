//! Containers that a client has in its build, and the processes that it talks to.
//!
//! One call carries the messages of many processes. Those that it started end with it; containers end when they
//! are released, and with their build.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use build::solve::{Container, ContainerOptions, Handle, Process, ProcessOptions, SolveError, Turn};
use bytes::Bytes;
use engine::{OutputKind, TerminalSize};
use futures::stream::{BoxStream, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::Bridge;
use crate::failure::{status, to_wire};
use crate::wire::moby::buildkit::v1::frontend::exec_message::Input as Said;
use crate::wire::moby::buildkit::v1::frontend::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, NewContainerRequest, StartedMessage,
};

/// How many containers one build may have at a time.
const CONTAINERS: usize = 32;
/// Bytes of the names of containers and processes.
const NAME: usize = 1 << 10;
/// Messages of a call that wait to be sent, and of a process that wait until it takes them.
const WAITING: usize = 16;
/// What a process has ended with where that is not known.
const UNKNOWN: u32 = 255;
/// Standard input, output and errors.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// The containers of a build, by the names that its client gave them.
#[derive(Default)]
pub(super) struct Containers {
    named: Mutex<Named>,
}

#[derive(Default)]
struct Named {
    containers: HashMap<String, Container>,
    /// The build has ended: there are no more.
    ended: bool,
}

impl Containers {
    pub(super) fn find(&self, id: &str) -> Option<Container> {
        self.named.lock().containers.get(id).cloned()
    }

    fn check(&self, id: &str) -> Result<(), Status> {
        let named = self.named.lock();
        if named.ended {
            return Err(Status::cancelled("the build has ended"));
        }
        if named.containers.contains_key(id) {
            return Err(Status::already_exists(format!("Container {id} already exists")));
        }
        if named.containers.len() >= CONTAINERS {
            let problem = format!("a build may have {CONTAINERS} containers at a time");
            return Err(Status::resource_exhausted(problem));
        }
        Ok(())
    }

    fn add(&self, id: String, container: &Container) -> Result<(), Status> {
        self.check(&id)?;
        let mut named = self.named.lock();
        if named.ended {
            return Err(Status::cancelled("the build has ended"));
        }
        named.containers.insert(id, container.clone());
        Ok(())
    }

    /// Ends all of them, and lets no other begin.
    pub(super) fn end(&self) {
        let mut named = self.named.lock();
        named.ended = true;
        for (_, container) in named.containers.drain() {
            container.end();
        }
    }
}

impl Bridge {
    pub(super) async fn new_container(&self, request: NewContainerRequest) -> Result<(), Status> {
        let id = request.container_id;
        if id.is_empty() || id.len() > NAME {
            return Err(Status::invalid_argument(format!("a container's id has 1 to {NAME} bytes")));
        }
        self.containers.check(&id)?;
        let mut mounts = Vec::new();
        for mount in request.mounts {
            let result = match mount.result_id.as_str() {
                "" => None,
                result => {
                    let dest = &mount.dest;
                    let missing = |error: Status| {
                        let why = error.message();
                        Status::unknown(format!("failed to find ref {result} for {dest:?} mount: {why}"))
                    };
                    self.result(result).map_err(missing)?
                }
            };
            mounts.push((mount, result));
        }
        let options = ContainerOptions {
            mounts,
            network: request.network,
            hostname: request.hostname,
            extra_hosts: request.extra_hosts,
            platform: request.platform,
        };
        let container = self.job.container(options).await.map_err(|error| status(&error))?;
        self.containers.add(id, &container).inspect_err(|_| container.end())
    }

    pub(super) async fn release_container(&self, id: &str) -> Result<(), Status> {
        let container = self.containers.named.lock().containers.remove(id);
        let container =
            container.ok_or_else(|| Status::unknown(format!("container details for {id} not found")))?;
        match container.release().await {
            Ok(false) => Ok(()),
            // What ran in it has been ended.
            Ok(true) => Err(status(&SolveError::Cancelled)),
            Err(error) => Err(status(&error)),
        }
    }

    /// The container whose files are asked for.
    pub(super) fn looked_into(&self, id: &str, mount: i32) -> Result<(Container, usize), Status> {
        let none = || Status::unknown(format!("container details for {id}@{mount} not found"));
        let container = self.containers.find(id).ok_or_else(none)?;
        let mount = usize::try_from(mount)
            .map_err(|_| Status::invalid_argument(format!("mount index {mount} is out of bounds")))?;
        Ok((container, mount))
    }

    /// Answers the messages of one call.
    pub(super) fn exec_process(
        self: std::sync::Arc<Self>,
        asked: Streaming<ExecMessage>,
    ) -> BoxStream<'static, Result<ExecMessage, Status>> {
        let (sender, told) = mpsc::channel(WAITING);
        let mut call = JoinSet::new();
        call.spawn(async move {
            if let Err(error) = self.hear(asked, sender.clone()).await {
                // Who listens may have gone.
                let _ = sender.send(Err(error)).await;
            }
        });
        // The call's tasks end with its answer: when it is told in full, or when nobody listens any more.
        futures::stream::unfold((told, call), |(mut told, call)| async move {
            Some((told.recv().await?, (told, call)))
        })
        .boxed()
    }

    async fn hear(
        &self,
        mut asked: Streaming<ExecMessage>,
        told: mpsc::Sender<Result<ExecMessage, Status>>,
    ) -> Result<(), Status> {
        let mut processes: HashMap<String, mpsc::Sender<Said>> = HashMap::new();
        let mut running: JoinSet<String> = JoinSet::new();
        loop {
            let message = tokio::select! {
                () = self.job.ended() => break,
                message = asked.next() => match message {
                    Some(message) => message?,
                    None => break,
                },
                Some(ended) = running.join_next() => {
                    if let Ok(id) = ended {
                        processes.remove(&id);
                    }
                    continue;
                }
            };
            let (id, said) = (message.process_id, message.input);
            if id.is_empty() || id.len() > NAME {
                return Err(Status::invalid_argument("ProcessID required"));
            }
            let Some(said) = said else { continue };
            match said {
                Said::Init(init) => {
                    let Entry::Vacant(free) = processes.entry(id.clone()) else {
                        return Err(Status::already_exists(format!("Process {id} already exists")));
                    };
                    let Some(container) = self.containers.find(&init.container_id) else {
                        return Err(Status::not_found(format!(
                            "container {:?} previously released or not created",
                            init.container_id
                        )));
                    };
                    check_descriptors(&init.fds)?;
                    let (sender, said) = mpsc::channel(WAITING);
                    free.insert(sender);
                    let talk = Talk { id: id.clone(), descriptors: init.fds.clone(), told: told.clone() };
                    // In the order in which they are asked for.
                    let turn = container.turn();
                    running.spawn(async move {
                        talk.go_on(&container, turn, init, said).await;
                        id
                    });
                }
                said @ (Said::File(_) | Said::Resize(_) | Said::Signal(_)) => match processes.get(&id) {
                    // What comes after its end is of no use to anybody.
                    Some(process) => drop(process.send(said).await),
                    None => tracing::debug!(id, "a message to a process that there is not"),
                },
                Said::Started(_) | Said::Exit(_) | Said::Done(_) => {
                    return Err(Status::invalid_argument("a message that only servers send"));
                }
            }
        }
        // Who says nothing more still hears.
        processes.clear();
        while running.join_next().await.is_some() {}
        Ok(())
    }
}

/// A process has the three streams that all have, and no others.
fn check_descriptors(descriptors: &[u32]) -> Result<(), Status> {
    match descriptors.iter().find(|fd| **fd > STDERR) {
        Some(fd) => Err(Status::unimplemented(format!("file descriptor {fd} of a process is not supported"))),
        None => Ok(()),
    }
}

/// What is said to a process, and what it says.
struct Talk {
    id: String,
    descriptors: Vec<u32>,
    told: mpsc::Sender<Result<ExecMessage, Status>>,
}

impl Talk {
    async fn go_on(self, container: &Container, turn: Turn, init: InitMessage, said: mpsc::Receiver<Said>) {
        // At once: a client that waits for this hears nothing of others meanwhile, whose output it may have to pass
        // on to this one. It is also told of one that does not come to be.
        self.tell(Said::Started(StartedMessage {})).await;
        let options = ProcessOptions {
            meta: init.meta.unwrap_or_default(),
            secret_env: init.secretenv,
            security: init.security,
            tty: init.tty,
            stdin: self.descriptors.contains(&STDIN),
        };
        let started = container.start_in(turn, options).await;
        let ended = match started {
            Ok(mut process) => {
                let handle = process.handle().clone();
                let hearing = hear(handle, said);
                tokio::select! {
                    ended = self.output(&mut process) => ended,
                    never = hearing => never,
                }
            }
            Err(error) => Err(error),
        };
        for fd in [STDOUT, STDERR] {
            if self.descriptors.contains(&fd) {
                self.tell(Said::File(FdMessage { fd, eof: true, data: Bytes::new() })).await;
            }
        }
        self.tell(Said::Exit(exit(ended))).await;
        self.tell(Said::Done(DoneMessage {})).await;
    }

    /// Tells what a process writes, and says how it ended.
    async fn output(&self, process: &mut Process) -> Result<i32, SolveError> {
        let released = process.released();
        loop {
            let piece = tokio::select! {
                biased;
                () = released.cancelled() => return Err(SolveError::Cancelled),
                piece = process.output.next() => piece,
            };
            let Some(piece) = piece else { break };
            let (kind, data) = piece?;
            let fd = if matches!(kind, OutputKind::Stdout) { STDOUT } else { STDERR };
            if self.descriptors.contains(&fd) {
                self.tell(Said::File(FdMessage { fd, eof: false, data })).await;
            }
        }
        process.wait().await
    }

    async fn tell(&self, said: Said) {
        let message = ExecMessage { process_id: self.id.clone(), input: Some(said) };
        // Who listens may have gone: then this ends, too.
        let _ = self.told.send(Ok(message)).await;
    }
}

/// Passes on what a client says to a process; never comes to an end before that does.
async fn hear<T>(process: Handle, mut said: mpsc::Receiver<Said>) -> T {
    while let Some(said) = said.recv().await {
        let heard = match said {
            Said::File(FdMessage { fd: STDIN, eof, data }) => {
                let written = if data.is_empty() { Ok(()) } else { process.write(data).await };
                if eof && written.is_ok() { process.close().await } else { written }
            }
            Said::Resize(size) => {
                let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
                let size = TerminalSize { columns: short(size.cols), rows: short(size.rows) };
                process.resize(size).await
            }
            Said::Signal(signal) => process.signal(&signal.name).await,
            _ => Ok(()),
        };
        // It may have ended, or have no standard input.
        if let Err(error) = heard {
            tracing::debug!(%error, "a process did not hear what its client said");
        }
    }
    // A client that has gone away writes nothing more.
    let _ = process.close().await;
    std::future::pending().await
}

/// How a process ended, as clients are told.
fn exit(ended: Result<i32, SolveError>) -> ExitMessage {
    match ended {
        Ok(0) => ExitMessage::default(),
        Ok(code) => {
            let error = to_wire(&Status::unknown(format!("exit code: {code}")));
            ExitMessage { code: u32::try_from(code).unwrap_or(UNKNOWN), error: Some(error) }
        }
        Err(error) => ExitMessage { code: UNKNOWN, error: Some(to_wire(&status(&error))) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_cause_and_a_success_without() {
        assert_eq!(exit(Ok(0)), ExitMessage::default());
        let told = exit(Ok(7));
        assert_eq!((told.code, told.error.expect("why").message.as_str()), (7, "exit code: 7"));
        let told = exit(Err(SolveError::Cancelled));
        assert_eq!((told.code, told.error.expect("why").message.as_str()), (UNKNOWN, "context canceled"));
        assert!(check_descriptors(&[0, 1, 2]).is_ok());
        assert_eq!(check_descriptors(&[0, 3]).expect_err("refused").code(), tonic::Code::Unimplemented);
    }
}

//! Processes that a client talks to in the containers of its build.
//!
//! One call carries the messages of many processes. Those that it started end with it. What is said to one waits for
//! that one alone, as far as there is room: its signals and its terminal's size for nothing that it has to read.

use std::collections::HashMap;
use std::sync::Arc;

use build::solve::{Container, Handle, Process, ProcessOptions, SolveError, Turn};
use bytes::Bytes;
use engine::{OutputKind, TerminalSize};
use futures::stream::{BoxStream, StreamExt as _};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::{Status, Streaming};

use super::Bridge;
use super::containers::NAME;
use crate::failure::{status, to_wire};
use crate::wire::moby::buildkit::v1::frontend::exec_message::Input as Said;
use crate::wire::moby::buildkit::v1::frontend::{
    DoneMessage, ExecMessage, ExitMessage, FdMessage, InitMessage, StartedMessage,
};

/// How many processes one build may have under way at a time, in all of its calls: until their client has heard of
/// their end.
const PROCESSES: usize = 128;
/// Bytes of messages that are held for them, together: of what they are to be, and of what waits to be cut up.
const HELD: usize = 32 << 20;
/// Messages of a call that wait to be sent, and of each sort of a process that wait until it takes them.
const WAITING: usize = 16;
/// Bytes of what is written to a process at a time.
const PIECE: usize = 32 << 10;
/// What a process has ended with where that is not known.
const UNKNOWN: u32 = 255;
/// Standard input, output and errors.
const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// How many processes a build has.
#[derive(Default)]
pub(super) struct Processes {
    under_way: Mutex<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    count: usize,
    bytes: usize,
}

/// The right to have so many, and to hold so many bytes for them.
struct Place {
    of: Arc<Processes>,
    count: usize,
    bytes: usize,
}

impl Processes {
    /// One more, that a message of so many bytes describes.
    fn begin(self: &Arc<Self>, bytes: usize) -> Result<Place, Status> {
        self.take(1, bytes)
    }

    /// A message of so many bytes for one that there is.
    fn hold(self: &Arc<Self>, bytes: usize) -> Result<Place, Status> {
        self.take(0, bytes)
    }

    fn take(self: &Arc<Self>, count: usize, bytes: usize) -> Result<Place, Status> {
        let mut under_way = self.under_way.lock();
        if count > PROCESSES - under_way.count {
            let problem = format!("a build may have {PROCESSES} processes at a time");
            return Err(Status::resource_exhausted(problem));
        }
        if bytes > HELD - under_way.bytes {
            let problem = format!("{HELD} bytes of messages may wait for the processes of a build at a time");
            return Err(Status::resource_exhausted(problem));
        }
        (under_way.count, under_way.bytes) = (under_way.count + count, under_way.bytes + bytes);
        Ok(Place { of: Arc::clone(self), count, bytes })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.of.under_way.lock();
        (under_way.count, under_way.bytes) = (under_way.count - self.count, under_way.bytes - self.bytes);
    }
}

/// The way to a process.
struct Spoken {
    input: mpsc::Sender<Written>,
    signals: mpsc::Sender<String>,
    /// Only the last one counts.
    size: watch::Sender<Option<TerminalSize>>,
}

/// The end of it.
struct Heard {
    input: mpsc::Receiver<Written>,
    signals: mpsc::Receiver<String>,
    size: watch::Receiver<Option<TerminalSize>>,
}

/// What a process has to read.
#[derive(Debug, PartialEq)]
enum Written {
    Bytes(Bytes),
    End,
}

impl Spoken {
    fn new() -> (Self, Heard) {
        let (input, read) = mpsc::channel(WAITING);
        let (signals, sent) = mpsc::channel(WAITING);
        let (size, shown) = watch::channel(None);
        (Self { input, signals, size }, Heard { input: read, signals: sent, size: shown })
    }

    /// Says something to it, when there is room for that. What comes after its end is of no use to anybody.
    async fn say(&self, said: Said) -> Result<(), Status> {
        match said {
            Said::File(FdMessage { fd: STDIN, eof, data }) => {
                // In pieces of their own: a few bytes of a long message would keep all of it.
                let pieces = data.chunks(PIECE).map(|piece| Written::Bytes(Bytes::copy_from_slice(piece)));
                for piece in pieces.chain(eof.then_some(Written::End)) {
                    if self.input.send(piece).await.is_err() {
                        break;
                    }
                }
            }
            Said::Resize(size) => {
                let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
                let size = TerminalSize { columns: short(size.cols), rows: short(size.rows) };
                self.size.send_replace(Some(size));
            }
            Said::Signal(signal) if signal.name.len() > NAME => {
                return Err(Status::invalid_argument(format!("a signal's name has at most {NAME} bytes")));
            }
            Said::Signal(signal) => drop(self.signals.send(signal.name).await),
            _ => {}
        }
        Ok(())
    }
}

impl Bridge {
    /// Answers the messages of one call.
    pub(super) fn exec_process(
        self: Arc<Self>,
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
        let mut processes: HashMap<String, Spoken> = HashMap::new();
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
                    if processes.contains_key(&id) {
                        return Err(Status::already_exists(format!("Process {id} already exists")));
                    }
                    let Some(container) = self.containers.find(&init.container_id) else {
                        return Err(Status::not_found(format!(
                            "container {:?} previously released or not created",
                            init.container_id
                        )));
                    };
                    check_descriptors(&init.fds)?;
                    let place = self.processes.begin(init.encoded_len())?;
                    let (spoken, heard) = Spoken::new();
                    processes.insert(id.clone(), spoken);
                    let talk = Talk { id: id.clone(), descriptors: init.fds.clone(), told: told.clone() };
                    // In the order in which they are asked for.
                    let turn = container.turn();
                    running.spawn(async move {
                        talk.go_on(&container, turn, init, heard).await;
                        drop(place);
                        id
                    });
                }
                said @ (Said::File(_) | Said::Resize(_) | Said::Signal(_)) => match processes.get(&id) {
                    Some(process) => {
                        let _held = self.processes.hold(said.encoded_len())?;
                        tokio::select! {
                            () = self.job.ended() => break,
                            heard = process.say(said) => heard?,
                        }
                    }
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
    async fn go_on(self, container: &Container, turn: Turn, init: InitMessage, said: Heard) {
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
async fn hear<T>(process: Handle, said: Heard) -> T {
    let Heard { mut input, mut signals, mut size } = said;
    // It may have ended, or have no standard input.
    let note = |heard: Result<(), SolveError>| {
        if let Err(error) = heard {
            tracing::debug!(%error, "a process did not hear what its client said");
        }
    };
    let writing = async {
        while let Some(written) = input.recv().await {
            note(match written {
                Written::Bytes(bytes) => process.write(bytes).await,
                Written::End => process.close().await,
            });
        }
        // A client that has gone away writes nothing more.
        let _ = process.close().await;
    };
    let signalling = async {
        while let Some(signal) = signals.recv().await {
            note(process.signal(&signal).await);
        }
    };
    let sizing = async {
        while size.changed().await.is_ok() {
            let wanted = *size.borrow_and_update();
            if let Some(wanted) = wanted {
                note(process.resize(wanted).await);
            }
        }
    };
    tokio::join!(writing, signalling, sizing);
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
    use crate::wire::moby::buildkit::v1::frontend::{ResizeMessage, SignalMessage};

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

    #[test]
    fn the_processes_of_a_build_have_an_end_and_those_that_ended_make_room() {
        let processes = Arc::new(Processes::default());
        let mut places: Vec<Place> = (0..2 * PROCESSES).map_while(|_| processes.begin(8).ok()).collect();
        assert_eq!(places.len(), PROCESSES);
        places.truncate(1);
        assert_eq!(
            processes.begin(HELD).err().map(|error| error.code()),
            Some(tonic::Code::ResourceExhausted)
        );
        let large = processes.begin(HELD - 8).expect("there is room for it");
        assert!(processes.begin(1).is_err());
        drop((places, large));
        assert!(processes.begin(HELD).is_ok());
    }

    #[tokio::test]
    async fn what_is_said_to_a_process_that_reads_nothing_has_an_end_and_holds_no_signal_up() {
        let (spoken, mut heard) = Spoken::new();
        let file = |data: Vec<u8>, eof| Said::File(FdMessage { fd: STDIN, eof, data: data.into() });
        let signal = |name: &str| Said::Signal(SignalMessage { name: name.to_owned() });
        let mut long = Box::pin(spoken.say(file(vec![7; 16 << 20], true)));
        assert!(futures::poll!(&mut long).is_pending());
        spoken.say(signal("KILL")).await.expect("said");
        for cols in [80, 100_000] {
            spoken.say(Said::Resize(ResizeMessage { rows: 40, cols })).await.expect("said");
        }
        assert_eq!(heard.signals.recv().await.as_deref(), Some("KILL"));
        let size = *heard.size.borrow_and_update();
        assert_eq!(size, Some(TerminalSize { columns: u16::MAX, rows: 40 }));
        let waiting = (0..).map_while(|_| heard.input.try_recv().ok());
        let waiting: usize = waiting.map(|it| if let Written::Bytes(it) = it { it.len() } else { 0 }).sum();
        assert_eq!(waiting, WAITING * PIECE);
        // The rest comes as it is read, and the end last.
        let reading = async {
            let mut read = waiting;
            loop {
                match heard.input.recv().await.expect("an end") {
                    Written::Bytes(bytes) => read += bytes.len(),
                    Written::End => break read,
                }
            }
        };
        let (said, read) = tokio::join!(long, reading);
        said.expect("said");
        assert_eq!(read, 16 << 20);
        assert!(spoken.say(signal(&"x".repeat(NAME + 1))).await.is_err());
        drop(heard);
        spoken.say(file(vec![7; 16 << 20], true)).await.expect("nobody hears it");
    }
}

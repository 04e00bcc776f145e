//! The words between a shim and those who connect to its socket.
//!
//! A frame is a payload length (`u32`, big endian), one byte of [`Kind`], and the payload: JSON
//! for control frames, raw bytes for streams. A client sends a [`Request`] and reads one
//! [`Response`]; requests on one connection are answered in order. Three requests change what the
//! connection is, once answered with `Ok`: [`Request::Attach`] and [`Request::Exec`] with `attach`
//! turn it into a stream both ways, [`Request::Subscribe`] into a stream of [`Event`] frames.
//!
//! Host paths that a container's configuration names do not cross as text: they come open, as
//! descriptors beside the bytes of the request ([`super::descriptors`]).
//!
//! [`encode`] and [`Decoder`] need no socket, so any kind of input and output can speak this.

use std::path::PathBuf;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use super::descriptors::Passed;
use crate::Rootfs;
use crate::cgroup::Stats;
use crate::spec::{ConsoleSize, Process, Resources};

/// The version of this protocol; a shim tells its own in [`Sandbox`].
///
/// A daemon must speak with shims that an older daemon left running, so fields and requests are
/// only ever added.
pub const VERSION: u32 = 2;

/// The first version whose shims take descriptors with a request.
pub const WITH_DESCRIPTORS: u32 = 2;

/// The longest payload that is accepted.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// The longest payload of stream frames that a shim sends.
pub const STREAM_CHUNK: usize = 64 << 10;

const HEADER: usize = 5;

/// What a frame's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`Request`].
    Request = 0,
    /// A [`Response`].
    Response = 1,
    /// An [`Event`].
    Event = 2,
    /// Bytes for the process.
    Stdin = 16,
    /// There will be no more bytes for the process; no payload.
    StdinClosed = 17,
    /// Bytes from the process (from its terminal, if it has one).
    Stdout = 18,
    /// Bytes from the process.
    Stderr = 19,
    /// A [`ConsoleSize`] for the process's terminal.
    Resize = 20,
    /// An [`ExitStatus`]: all output came before, the connection ends.
    Exited = 21,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Request,
            1 => Self::Response,
            2 => Self::Event,
            16 => Self::Stdin,
            17 => Self::StdinClosed,
            18 => Self::Stdout,
            19 => Self::Stderr,
            20 => Self::Resize,
            21 => Self::Exited,
            _ => return None,
        })
    }
}

/// One frame as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Reads the payload of a control frame.
    pub fn json<T: for<'de> Deserialize<'de>>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(&self.payload).map_err(FrameError::Payload)
    }
}

/// What a client may ask of a shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// What the shim is and holds; answered with [`Response::Sandbox`].
    State,
    /// Makes a container up to the point where its program would start; answered with `Pid`.
    CreateContainer {
        /// Its name, unique in this shim.
        container: String,
        /// Directory with its `config.json`; its mounts' relative sources start here.
        bundle: PathBuf,
        /// Its root file system, in place of `root.path` of the configuration.
        rootfs: Rootfs,
        /// What its standard streams are.
        stdio: Stdio,
        /// What the descriptors that come with this request are, in order. Since version 2, whose
        /// shims take no bind mount and no namespace by its path.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        descriptors: Vec<Passed>,
        /// How it is stopped when the shim is told to end by a signal.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        stop: Option<StopSpec>,
        /// Milliseconds that it may take; a minute where absent. What takes longer is killed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
    },
    /// Starts the program of a created container; answered with `Pid`.
    StartContainer {
        /// Which.
        container: String,
        /// Milliseconds that it may take; a minute where absent. What takes longer is killed.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
    },
    /// Sends a signal; answered with `Ok`.
    Kill {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// Number of the signal.
        signal: i32,
        /// To every process in the container.
        #[serde(default)]
        all: bool,
    },
    /// Starts a further process in a running container; answered with `Pid`.
    Exec {
        /// Which container.
        container: String,
        /// Name of the process, unique in the container until it has exited and is deleted.
        exec: String,
        /// What to run. Capabilities, seccomp and labels that are absent are the container's own.
        process: Process,
        /// What its standard streams are.
        stdio: Stdio,
        /// Turns this connection into the process's streams, with nothing lost.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        attach: Option<Streams>,
        /// Milliseconds that it may take until its program runs; a minute where absent. A process
        /// that takes longer is killed, and one whose asker has gone meanwhile too.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        limit: Option<u64>,
    },
    /// Sets the size of a terminal; answered with `Ok`.
    ResizeTty {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// The size.
        size: ConsoleSize,
    },
    /// Freezes a container's processes; answered with `Ok`.
    Pause {
        /// Which.
        container: String,
    },
    /// Lets them go on; answered with `Ok`.
    Resume {
        /// Which.
        container: String,
    },
    /// Changes limits; answered with `Ok`.
    Update {
        /// Which.
        container: String,
        /// The limits to change.
        resources: Resources,
    },
    /// Forgets a container that has stopped or never started, its cgroup too; answered with `Exit`.
    Delete {
        /// Which container.
        container: String,
        /// Which added process, instead of the container.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// Kills it first if it runs.
        #[serde(default)]
        force: bool,
    },
    /// Turns this connection into the streams of a process; answered with `Ok`.
    Attach {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// Which streams.
        streams: Streams,
    },
    /// Answered with `Exit` once the process has exited and its output is written.
    Wait {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
    },
    /// Turns this connection into a stream of events; answered with `Ok`.
    Subscribe,
    /// What a container uses; answered with `Stats`.
    Stats {
        /// Which.
        container: String,
    },
    /// Process ids in a container, as the host counts; answered with `Pids`.
    Pids {
        /// Which.
        container: String,
    },
    /// Writes the log's tail out and starts a new file at its path; answered with `Ok`.
    ReopenLog {
        /// Which container.
        container: String,
    },
    /// Kills what is left and ends the shim; answered with `Ok`.
    Shutdown,
}

/// What a shim answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// Done.
    Ok,
    /// Not done.
    Error(Failure),
    /// Answer to [`Request::State`].
    Sandbox(Sandbox),
    /// The process, as the host counts.
    Pid(u32),
    /// How it ended; `None` if it never ran.
    Exit(Option<ExitStatus>),
    /// Answer to [`Request::Stats`].
    Stats(Box<Stats>),
    /// Answer to [`Request::Pids`].
    Pids(Vec<u32>),
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What a caller can act on.
    pub kind: FailureKind,
    /// The whole chain of errors, as text.
    pub message: String,
}

/// What a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// There is no such container or process.
    NotFound,
    /// There is already one of that name.
    Exists,
    /// It is not in the state that the request needs.
    State,
    /// The request or the configuration is wrong.
    Invalid,
    /// The program to run does not exist inside (exit code 127).
    ProgramNotFound,
    /// The program to run may not or cannot be executed (exit code 126).
    ProgramNotExecutable,
    /// Something else that the process needs does not exist inside, its working directory or the place of a mount
    /// (exit code 127).
    Missing,
    /// Something else that the process needs is closed to it (exit code 126).
    Denied,
    /// The kernel refused something.
    Internal,
}

/// What a shim is and holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The sandbox.
    pub id: String,
    /// [`VERSION`] of the shim.
    pub version: u32,
    /// The shim's process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: with `pid`, names it for good.
    pub start_time: u64,
    /// Process 1 of the shared process namespace, if the sandbox has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub init_pid: Option<u32>,
    /// Its containers.
    pub containers: Vec<ContainerState>,
}

/// One container of a shim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerState {
    /// Its name.
    pub id: String,
    /// Its first process, as the host counts.
    pub pid: u32,
    /// When that process started, in clock ticks since boot.
    pub start_time: u64,
    /// Where it is in its life.
    pub status: crate::spec::Status,
    /// When its program was started.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started_at: Option<Timestamp>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<ExitStatus>,
    /// The directory of its `config.json`.
    pub bundle: PathBuf,
    /// Its added processes, those included that have exited and are not deleted.
    #[serde(default)]
    pub execs: Vec<ExecState>,
}

/// One added process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecState {
    /// Its name.
    pub id: String,
    /// As the host counts.
    pub pid: u32,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit: Option<ExitStatus>,
}

/// How a process ended. Also the content of `exit.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Its exit code; 128 plus the signal if a signal ended it.
    pub code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// When.
    pub at: Timestamp,
    /// Whether the kernel killed a process of the container for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
}

/// What a process's standard streams are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stdio {
    /// A terminal in place of three pipes; must agree with the process's `terminal`.
    pub terminal: bool,
    /// Whether standard input is open; else it is `/dev/null`.
    pub stdin: bool,
    /// Closes standard input when the first attached client that gave input has gone.
    pub stdin_once: bool,
    /// Bytes of output that are kept for the first client that attaches and wants output; 0 is none.
    pub backlog: u32,
    /// Where output is written besides to attached clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSpec>,
}

/// A log on disk, in CRI's format (`<RFC 3339 time> <stdout|stderr> <F|P> <text>`) or Docker's
/// (`{"log":"…\n","stream":"stdout","time":"…"}`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    /// The file; older ones are beside it with `.1`, `.2`, ….
    pub path: PathBuf,
    /// Bytes after which a new file is begun; 0 is never.
    pub max_size: u64,
    /// How many files are kept, the present one included; 0 counts as 1.
    pub max_files: u32,
    /// Whether it is in Docker's format, which programs that collect logs read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
}

/// How a container is stopped when nobody is there to say: the machine goes down, and whoever ends
/// its processes tells the shim by a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StopSpec {
    /// Number of the signal that asks it to end; `SIGTERM` where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Milliseconds until it is killed; ten seconds where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<u64>,
    /// A directory that outlives the machine's end: how it ended is written there too, as
    /// [`EXIT_FILE`](super::EXIT_FILE).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<PathBuf>,
}

/// Which streams a client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// The client gives input.
    pub stdin: bool,
    /// The client wants output.
    pub stdout: bool,
    /// The client wants error output; nothing comes where there is a terminal.
    pub stderr: bool,
}

/// What subscribers hear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A program was started.
    Started {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// As the host counts.
        pid: u32,
    },
    /// A process has exited, its output is written, `exit.json` too.
    Exited {
        /// Which container.
        container: String,
        /// Which added process, instead of the container's first one.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        exec: Option<String>,
        /// How.
        status: ExitStatus,
    },
    /// The kernel killed a process for want of memory.
    OutOfMemory {
        /// In which container.
        container: String,
    },
    /// A container was frozen.
    Paused {
        /// Which.
        container: String,
    },
    /// A container goes on.
    Resumed {
        /// Which.
        container: String,
    },
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The kind byte.
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    /// The length.
    #[error("frame of {0} bytes is too long")]
    Length(usize),
    /// The JSON.
    #[error("frame with unreadable payload")]
    Payload(#[source] serde_json::Error),
}

/// A frame's first five bytes.
pub fn header(kind: Kind, payload_len: usize) -> [u8; HEADER] {
    let length = u32::try_from(payload_len).expect("payloads are far below 4 GiB").to_be_bytes();
    [length[0], length[1], length[2], length[3], kind as u8]
}

/// A whole frame around `payload`.
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&header(kind, payload.len()));
    bytes.extend_from_slice(payload);
    bytes
}

/// A whole control frame around `value`.
pub fn encode_json<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    encode(kind, &serde_json::to_vec(value).expect("protocol types have only string keys"))
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes that came in.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes wait to be taken out.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Takes the next whole frame out, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.start..];
        let Some((&[a, b, c, d, kind], body)) = rest.split_first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::Length(length));
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        if body.len() < length {
            return Ok(None);
        }
        let payload = body[..length].to_vec();
        self.start += HEADER + length;
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            // What one large frame needed is given back: shims are many and idle.
            self.buffer.shrink_to(4 << 10);
        }
        Ok(Some(Frame { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut() {
        let mut bytes = encode(Kind::Stdout, b"hello");
        bytes.extend(encode(Kind::StdinClosed, b""));
        bytes.extend(encode_json(Kind::Request, &Request::Subscribe));
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.push(piece);
                while let Some(frame) = decoder.next_frame().expect("good frames") {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 3);
            assert_eq!(frames[0], Frame { kind: Kind::Stdout, payload: b"hello".to_vec() });
            assert_eq!(frames[1].kind, Kind::StdinClosed);
            assert_eq!(frames[2].json::<Request>().expect("request"), Request::Subscribe);
        }
    }

    #[test]
    fn a_frame_that_claims_to_be_huge_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&[0xff, 0xff, 0xff, 0xff, 16]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::Length(_))));
    }

    #[test]
    fn a_frame_of_unknown_kind_is_refused() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 0, 99]);
        assert!(matches!(decoder.next_frame(), Err(FrameError::Kind(99))));
    }
}

//! Starting a shim from the daemon.

use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::client::{Client, ClientError};
use super::protocol::{Request, Response, Sandbox};
use crate::held::{HeldNamespace, HeldProcess};
use crate::sealed;
use crate::spec::{IdMapping, NamespaceKind};
use crate::sys::{process, userns};

/// What a shim is started with.
#[derive(Debug)]
pub struct LaunchSpec {
    /// Name of the sandbox; also of the socket.
    pub id: String,
    /// The socket is `<run>/shims/<id>.sock`.
    pub run_dir: PathBuf,
    /// How containers ended is kept below `<state>/<container>/`.
    pub state_dir: PathBuf,
    /// The network of the sandbox.
    pub network: Network,
    /// Whether the sandbox has System V and POSIX IPC of its own, which its containers share.
    pub ipc: bool,
    /// Host name of a UTS namespace of the sandbox's own, which its containers share.
    pub hostname: Option<String>,
    /// Whether the sandbox has a process namespace of its own, which its containers share; its
    /// process 1 reaps orphans and has no rights.
    pub pid: bool,
    /// Users and groups of a user namespace of the sandbox's own, which its containers share. It owns
    /// the network, which must be a new one, and what else the sandbox has of its own.
    pub users: Option<IdMapping>,
    /// Cgroup of the shim itself, from the root of the hierarchy; the caller's own if absent.
    pub cgroup: Option<PathBuf>,
    /// File that the shim's own messages are appended to.
    pub log: PathBuf,
    /// The gantry binary; the running one if absent.
    pub program: Option<PathBuf>,
}

/// Where a sandbox's network namespace comes from.
#[derive(Debug)]
pub enum Network {
    /// The host's.
    Host,
    /// A new one with nothing but a loopback interface.
    New,
    /// This one, for example from a pool.
    Fd(OwnedFd),
}

/// A shim that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShimHandle {
    /// Name of the sandbox.
    pub id: String,
    /// Where the shim listens.
    pub socket: PathBuf,
    /// Its process.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: with `pid`, names it for good.
    pub start_time: u64,
    /// Process 1 of the shared process namespace, if there is one.
    pub init_pid: Option<u32>,
}

/// Why a shim could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A directory or file that the shim needs.
    #[error("{what} `{}`", path.display())]
    Prepare {
        /// What was being done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Making the read-only copy of the binary.
    #[error("seal the program of the shim")]
    Seal(#[source] io::Error),
    /// Running it.
    #[error("start the shim of sandbox {id}")]
    Spawn {
        /// Which.
        id: String,
        /// The reason.
        source: io::Error,
    },
    /// It ran and said what is wrong.
    #[error("shim of sandbox {id}: {message}")]
    Failed {
        /// Which.
        id: String,
        /// What it said.
        message: String,
    },
}

/// How the launcher tells the shim what to be: as one JSON argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Orders {
    pub(super) id: String,
    pub(super) socket: PathBuf,
    pub(super) state_dir: PathBuf,
    pub(super) network: NetworkOrder,
    pub(super) ipc: bool,
    pub(super) hostname: Option<String>,
    pub(super) pid: bool,
    #[serde(default)]
    pub(super) users: Option<IdMapping>,
    pub(super) cgroup: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum NetworkOrder {
    Host,
    New,
    /// The namespace is open on standard input.
    Stdin,
}

/// What the shim says on standard output when it is ready, or not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Ready { pid: u32, start_time: u64, init_pid: Option<u32> },
    Failed(String),
}

/// Starts a shim and returns once it listens.
///
/// May be called from any thread of a multi-threaded process; blocks for a few milliseconds. The
/// shim is no child of the caller: it has left for init by the time this returns.
pub fn launch(spec: &LaunchSpec) -> Result<ShimHandle, LaunchError> {
    let prepare = |what, path: &Path, source| LaunchError::Prepare { what, path: path.to_owned(), source };
    let sockets = spec.run_dir.join("shims");
    std::fs::create_dir_all(&sockets).map_err(|source| prepare("create directory", &sockets, source))?;
    let socket = sockets.join(format!("{}.sock", spec.id));
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(&spec.log)
        .map_err(|source| prepare("open the shim's log", &spec.log, source))?;
    let (stdin, network) = match &spec.network {
        Network::Host => (Stdio::null(), NetworkOrder::Host),
        Network::New => (Stdio::null(), NetworkOrder::New),
        Network::Fd(fd) => {
            let fd = fd.try_clone().map_err(|source| LaunchError::Spawn { id: spec.id.clone(), source })?;
            (Stdio::from(fd), NetworkOrder::Stdin)
        }
    };
    let orders = Orders {
        id: spec.id.clone(),
        socket: socket.clone(),
        state_dir: spec.state_dir.clone(),
        network,
        ipc: spec.ipc,
        hostname: spec.hostname.clone(),
        pid: spec.pid,
        users: spec.users,
        cgroup: spec.cgroup.clone(),
    };
    let program = sealed::program(spec.program.as_deref()).map_err(LaunchError::Seal)?;
    // With a directory of its own to begin in, the standard library would fork, for which the kernel copies the
    // daemon's page tables and then every page that it writes; the shim goes to the root directory itself.
    let mut child = Command::new(program.path())
        .arg0(super::NAME)
        .arg("shim")
        .arg(serde_json::to_string(&orders).expect("orders have only string keys"))
        .env_clear()
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .map_err(|source| LaunchError::Spawn { id: spec.id.clone(), source })?;
    let mut report = Vec::new();
    let read = child.stdout.take().expect("standard output is a pipe").read_to_end(&mut report);
    // The process that was spawned ends as soon as the shim proper has left it.
    let status = child.wait().map_err(|source| LaunchError::Spawn { id: spec.id.clone(), source })?;
    read.map_err(|source| LaunchError::Spawn { id: spec.id.clone(), source })?;
    match serde_json::from_slice(&report) {
        Ok(Report::Ready { pid, start_time, init_pid }) => {
            Ok(ShimHandle { id: spec.id.clone(), socket, pid, start_time, init_pid })
        }
        Ok(Report::Failed(message)) => Err(LaunchError::Failed { id: spec.id.clone(), message }),
        Err(_) => {
            let message = format!("it ended with {status} and no report; see `{}`", spec.log.display());
            Err(LaunchError::Failed { id: spec.id.clone(), message })
        }
    }
}

/// Finds the processes of shims that do not answer, each by its id: `listener`, who listens at its
/// socket according to the kernel, if that is a shim of this name, else any such shim. Gives number and
/// start of each, in the order of `shims`. All processes are looked at once, however many are wanted.
pub fn find_processes(shims: &[(&str, Option<u32>)]) -> Vec<Option<(u32, u64)>> {
    let mut found: Vec<_> =
        shims.iter().map(|&(id, listener)| listener.and_then(|pid| Named::look(pid)?.if_of(id))).collect();
    if found.iter().all(Option::is_some) {
        return found;
    }
    let listed = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let all = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for named in all.filter_map(Named::look) {
        for (place, (id, _)) in found.iter_mut().zip(shims) {
            *place = place.or_else(|| named.if_of(id));
        }
    }
    found
}

/// A process that calls itself a shim.
struct Named {
    pid: u32,
    start_time: u64,
    title: String,
    /// Older shims kept their orders where all can read them.
    orders: String,
}

impl Named {
    fn look(pid: u32) -> Option<Self> {
        let start_time = process::start_time(pid)?;
        let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = bytes.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let title = words.next().filter(|title| title.starts_with(super::NAME))?;
        let orders = words.nth(1).unwrap_or_default();
        // Nobody in a container is a shim, whatever he calls himself.
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let is_ours = namespace(&pid.to_string()).is_some_and(|theirs| Some(theirs) == namespace("self"));
        // Asked again: the number had not been taken over while it was looked at.
        let is_same = process::start_time(pid) == Some(start_time);
        (is_ours && is_same).then_some(Self { pid, start_time, title, orders })
    }

    fn if_of(&self, id: &str) -> Option<(u32, u64)> {
        let ordered = || self.title == super::NAME && self.orders.contains(&format!("\"id\":\"{id}\""));
        (self.title == super::title(id) || ordered()).then_some((self.pid, self.start_time))
    }
}

impl ShimHandle {
    /// Finds the shim that listens at `socket`, for example after the daemon was restarted, and
    /// what it holds.
    pub fn find(socket: &Path) -> Result<(Self, Sandbox), ClientError> {
        match Client::connect(socket)?.ask(&Request::State)? {
            Response::Sandbox(sandbox) => {
                let handle = Self {
                    id: sandbox.id.clone(),
                    socket: socket.to_owned(),
                    pid: sandbox.pid,
                    start_time: sandbox.start_time,
                    init_pid: sandbox.init_pid,
                };
                Ok((handle, sandbox))
            }
            other => Err(ClientError::Unexpected { path: socket.to_owned(), answer: format!("{other:?}") }),
        }
    }

    /// Connects to the shim.
    pub fn connect(&self) -> Result<Client, ClientError> {
        Client::connect(&self.socket)
    }

    /// Whether the shim's process still lives.
    pub fn is_alive(&self) -> bool {
        let same = process::start_time(self.pid).is_some_and(|start| start == self.start_time);
        same && !process::is_zombie(self.pid)
    }

    /// Opens the sandbox's network namespace; `NotFound` if the shim has gone.
    pub fn network_namespace(&self) -> io::Result<OwnedFd> {
        let shim = HeldProcess::hold(self.pid, self.start_time)?;
        Ok(shim.namespace(NamespaceKind::Network)?.fd)
    }

    /// Opens the user namespace that the sandbox's containers share, if it has one of its own: the
    /// one that owns its network. `NotFound` if the shim has gone.
    pub fn user_namespace(&self) -> io::Result<HeldNamespace> {
        let shim = HeldProcess::hold(self.pid, self.start_time)?;
        let network = shim.namespace(NamespaceKind::Network)?;
        let fd = userns::owner_of(&network.fd)?;
        let own = std::fs::metadata("/proc/self/ns/user")?;
        let stat = rustix::fs::fstat(&fd)?;
        if (stat.st_dev, stat.st_ino) == (own.dev(), own.ino()) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the sandbox has the host's users"));
        }
        Ok(HeldNamespace { path: PathBuf::from(format!("/proc/{}/ns/net", self.pid)), fd })
    }

    /// Opens the process namespace that the sandbox's containers share, if they do; `NotFound` if
    /// the shim has gone.
    pub fn process_namespace(&self) -> io::Result<Option<HeldNamespace>> {
        self.init_process()?.map(|(_, init)| init.namespace(NamespaceKind::Pid)).transpose()
    }

    /// Process 1 of the sandbox's process namespace, if it has one: its number, and held.
    pub fn init_process(&self) -> io::Result<Option<(u32, HeldProcess)>> {
        let Some(pid) = self.init_pid else { return Ok(None) };
        let init = HeldProcess::init_of(pid, self.pid)?;
        // The parent whose number was found must be the shim: it still is, or was all the time.
        if self.is_alive() { Ok(Some((pid, init))) } else { Err(io::ErrorKind::NotFound.into()) }
    }
}

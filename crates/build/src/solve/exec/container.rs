//! Containers that a client has in its build: over what definitions came to, with processes that it starts and
//! talks to. Nothing of them is kept.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use engine::container::{AttachFlags, MountSource};
use engine::exec::ExecSpec;
use engine::stream::{Input, Output, Resizer};
use engine::{Attached, ContainerId, Engine, ExecId, TerminalSize};
use llb::Vertex;
use llb::pb::{self, ExecOp, MountType};
use oci::Digest;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::asked;
use super::mounts::{self, Mounts};
use super::run::{self, Running};
use crate::solve::job::Job;
use crate::solve::look::{self, FileStat};
use crate::solve::reference::Ref;
use crate::solve::schedule::Step;
use crate::solve::value::Value;
use crate::solve::{SolveError, value};

/// Processes of one container at a time.
const PROCESSES_MAX: usize = 128;
/// Variables that a process has where its client says nothing.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TERM: &str = "TERM=xterm";

/// What a container is made of.
#[derive(Clone, Default)]
pub struct ContainerOptions {
    /// What is mounted, with what that is of; inputs and outputs of the mounts mean nothing.
    pub mounts: Vec<(pb::Mount, Option<Ref>)>,
    /// A `pb::NetMode`.
    pub network: i32,
    /// What the host is called in it.
    pub hostname: String,
    /// Names of other hosts.
    pub extra_hosts: Vec<pb::HostIp>,
    /// What it is for, where its client says so.
    pub platform: Option<pb::Platform>,
}

/// What a process is to be.
#[derive(Clone, Default)]
pub struct ProcessOptions {
    /// Its arguments, variables, user and directory.
    pub meta: pb::Meta,
    /// Variables that are secrets of the client's.
    pub secret_env: Vec<pb::SecretEnv>,
    /// A `pb::SecurityMode`.
    pub security: i32,
    /// It has a terminal.
    pub tty: bool,
    /// Its client writes to it.
    pub stdin: bool,
}

/// A container of a client's. All that runs in it ends, and all that it had mounted goes, when it is released or
/// dropped. Cheap to clone: all clones are one, dropped when the last is.
#[derive(Clone)]
pub struct Container {
    inner: Arc<Inner>,
}

struct Inner {
    job: Job,
    vertex: Vertex,
    exec: ExecOp,
    inputs: Vec<Value>,
    /// Where what is mounted is on this host, by the mounts' numbers.
    places: Vec<Option<PathBuf>>,
    /// The end of it.
    released: CancellationToken,
    processes: AtomicUsize,
    /// Somebody starts, or has started, the first process.
    has_first: AtomicBool,
    /// The first process has been started, or has not come to be.
    begun: watch::Sender<bool>,
    state: tokio::sync::Mutex<State>,
    _place: OwnedSemaphorePermit,
}

enum State {
    /// Nothing has been started; what is mounted is ready.
    Ready(Box<Mounts>),
    /// Its first process has been started.
    Started {
        running: Box<Running>,
        env: Vec<String>,
    },
    /// Its first process did not come to be.
    Failed,
    Released,
}

/// A process's place among those of its container.
pub struct Turn(Option<First>);

/// Tells those who wait that the first process has been started, or does not come to be.
struct First {
    container: Container,
}

impl Drop for First {
    fn drop(&mut self) {
        self.container.inner.begun.send_replace(true);
    }
}

/// A process in a container. It is killed when this is dropped before it has ended.
pub struct Process {
    container: Container,
    handle: Handle,
    /// What it writes.
    pub output: Output,
    exit: engine::stream::Exit,
    ended: Arc<AtomicBool>,
}

/// Talks to a process. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    engine: Engine,
    which: Which,
    input: Input,
    resize: Resizer,
}

#[derive(Clone)]
enum Which {
    First(ContainerId),
    Further(ExecId),
}

impl Job {
    /// Makes a container: its first process is the first that is started in it.
    pub async fn container(&self, options: ContainerOptions) -> Result<Container, SolveError> {
        self.until_cancelled(make(self, options)).await
    }
}

async fn make(job: &Job, options: ContainerOptions) -> Result<Container, SolveError> {
    let (mut inputs, mut described) = (Vec::new(), Vec::new());
    if let Some(platform) = options.platform.as_ref().filter(|platform| !platform.os.is_empty())
        && platform.os != "linux"
    {
        return Err(SolveError::Unsupported(format!("containers for {} are not supported", platform.os)));
    }
    if !options.mounts.iter().any(|(mount, _)| mount.dest == "/") {
        return Err(SolveError::Invalid("a container has no root file system".to_owned()));
    }
    let exec = |mounts| ExecOp {
        meta: Some(pb::Meta {
            hostname: options.hostname.clone(),
            extra_hosts: options.extra_hosts.clone(),
            ..pb::Meta::default()
        }),
        network: options.network,
        mounts,
        ..ExecOp::default()
    };
    // Before anything is done for it (CVE-2024-23653).
    super::check(job, &exec(options.mounts.iter().map(|(mount, _)| mount.clone()).collect()))?;
    let place = Arc::clone(&job.inner.solver.inner.containers).try_acquire_owned();
    let place = place.map_err(|_| {
        SolveError::Failed("clients have as many containers in their builds as they may have".to_owned())
    })?;
    for (mount, result) in &options.mounts {
        let input = match result {
            None => llb::EMPTY,
            Some(result) => {
                inputs.push(result.value().await?);
                i64::try_from(inputs.len() - 1).unwrap_or(llb::EMPTY)
            }
        };
        described.push(pb::Mount { input, output: llb::SKIP_OUTPUT, ..mount.clone() });
    }
    let exec = exec(described);
    let vertex = Vertex {
        digest: Digest::sha256_of(b"container"),
        op: pb::Op { platform: options.platform.clone(), ..pb::Op::default() },
        bytes: Bytes::new(),
        metadata: pb::OpMetadata::default(),
        inputs: Vec::new(),
        name: "container".to_owned(),
    };
    let step = step(job, &vertex, &inputs);
    let asked = asked::ask(&step, &exec).await?;
    let caches = mounts::caches(&step, &exec).await?;
    let made = mounts::prepare(&step, &exec, &asked, caches).await?;
    let places = exec.mounts.iter().map(|mount| place_of(&made, mount)).collect();
    drop(step);
    Ok(Container {
        inner: Arc::new(Inner {
            job: job.clone(),
            vertex,
            exec,
            inputs,
            places,
            released: job.inner.cancelled.child_token(),
            processes: AtomicUsize::new(0),
            has_first: AtomicBool::new(false),
            begun: watch::Sender::new(false),
            state: tokio::sync::Mutex::new(State::Ready(Box::new(made))),
            _place: place,
        }),
    })
}

fn step<'a>(job: &'a Job, vertex: &'a Vertex, inputs: &[Value]) -> Step<'a> {
    Step { job, vertex, inputs: inputs.to_vec(), flight: std::sync::OnceLock::new(), followed: None }
}

/// Where what a mount shows is on this host; nothing for memory, and for the root.
fn place_of(made: &Mounts, mount: &pb::Mount) -> Option<PathBuf> {
    if !matches!(mount.mount_type(), MountType::Bind | MountType::Cache) {
        return None;
    }
    let found = made.mounts.iter().rfind(|made| made.target == mount.dest)?;
    match &found.source {
        MountSource::Bind { path, .. } => Some(path.clone()),
        _ => None,
    }
}

impl Container {
    /// The next process's place among all: the first one is what the container is for.
    pub fn turn(&self) -> Turn {
        let is_first = !self.inner.has_first.swap(true, Ordering::Relaxed);
        Turn(is_first.then(|| First { container: self.clone() }))
    }

    /// Starts the next process: all others end with the first.
    pub async fn start(&self, options: ProcessOptions) -> Result<Process, SolveError> {
        self.start_in(self.turn(), options).await
    }

    /// Starts the process whose turn it is; others than the first wait for that.
    pub async fn start_in(&self, turn: Turn, options: ProcessOptions) -> Result<Process, SolveError> {
        let inner = &self.inner;
        let exec = ExecOp { security: options.security, ..inner.exec.clone() };
        super::check(&inner.job, &exec)?;
        if options.meta.args.is_empty() {
            return Err(SolveError::Invalid("a process has no arguments".to_owned()));
        }
        let counted = Counted::new(&self.inner)?;
        let started = tokio::select! {
            biased;
            () = inner.released.cancelled() => Err(SolveError::Cancelled),
            started = self.start_counted(turn, options) => started,
        };
        let (handle, Attached { output, exit, .. }) = started?;
        let ended = Arc::new(AtomicBool::new(false));
        counted.keep();
        Ok(Process { container: self.clone(), handle, output, exit, ended })
    }

    async fn start_counted(
        &self,
        turn: Turn,
        options: ProcessOptions,
    ) -> Result<(Handle, Attached), SolveError> {
        let inner = &self.inner;
        if turn.0.is_none() {
            // It is told as long as the container is there.
            let _ = inner.begun.subscribe().wait_for(|begun| *begun).await;
        }
        let step = step(&inner.job, &inner.vertex, &inner.inputs);
        let ProcessOptions { mut meta, secret_env, security, tty, stdin } = options;
        add_default(&mut meta.env, PATH);
        if tty {
            add_default(&mut meta.env, TERM);
        }
        if meta.cwd.is_empty() {
            "/".clone_into(&mut meta.cwd);
        }
        if meta.user.is_empty() {
            "0".clone_into(&mut meta.user);
        }
        let plain = inner.exec.meta.clone().unwrap_or_default();
        (meta.hostname, meta.extra_hosts) = (plain.hostname, plain.extra_hosts);
        let exec = ExecOp {
            meta: Some(meta.clone()),
            network: inner.exec.network,
            secretenv: secret_env,
            security,
            ..ExecOp::default()
        };
        let asked = asked::ask(&step, &exec).await?;
        let engine = inner.job.inner.solver.engine().clone();
        let mut state = inner.state.lock().await;
        match &mut *state {
            State::Released => Err(SolveError::Cancelled),
            State::Failed => {
                Err(SolveError::Invalid("the first process of the container did not start".to_owned()))
            }
            State::Ready(made) => {
                let mut spec = run::spec(&step, &exec, &meta, made, &asked)?;
                spec.tty = tty;
                (spec.stdin_open, spec.stdin_once, spec.attach.stdin) = (stdin, stdin, stdin);
                let State::Ready(made) = std::mem::replace(&mut *state, State::Failed) else {
                    return Err(SolveError::Cancelled);
                };
                let (running, _) = run::create(&engine, spec, made.held, made.written).await?;
                let id = running.id.clone();
                let attached = engine.container_attach(&id, stdin).await?;
                // It is there for others only when it runs.
                engine.container_start(&id).await?;
                *state = State::Started { running: Box::new(running), env: meta.env };
                Ok((Handle::of(&engine, Which::First(id), &attached), attached))
            }
            State::Started { running, env } => {
                let mut own = removed(env, &meta.env);
                own.extend(meta.env);
                own.extend(run::secret_env(&exec, &asked)?);
                let spec = ExecSpec {
                    command: meta.args,
                    env: own,
                    workdir: Some(meta.cwd),
                    user: Some(meta.user),
                    tty,
                    size: None,
                    privileged: exec.security() == pb::SecurityMode::Insecure,
                    attach: AttachFlags { stdin, stdout: true, stderr: true },
                    detach_keys: String::new(),
                };
                let id = running.id.clone();
                drop(state);
                let exec = engine.exec_create(&id, spec).await?;
                let attached = engine.exec_start(&exec, None).await?;
                Ok((Handle::of(&engine, Which::Further(exec), &attached), attached))
            }
        }
    }

    /// Ends it: with all that runs in it, before this returns. Says whether something ran.
    pub async fn release(&self) -> Result<bool, SolveError> {
        let inner = &self.inner;
        let ran = inner.processes.load(Ordering::Relaxed) > 0;
        inner.released.cancel();
        let state = std::mem::replace(&mut *inner.state.lock().await, State::Released);
        if let State::Started { mut running, .. } = state {
            running.remove().await?;
        }
        Ok(ran)
    }

    /// Ends it, without waiting for that.
    pub fn end(&self) {
        self.inner.released.cancel();
        let inner = Arc::clone(&self.inner);
        // Without a runtime the engine is going, and its next opening removes what is left.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { *inner.state.lock().await = State::Released });
        }
    }

    /// The content of a file below the mount of this number.
    pub async fn read_file(
        &self,
        mount: usize,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Bytes, SolveError> {
        let path = path.to_owned();
        self.look_into(mount, move |root| look::read_file(root, &path, range)).await
    }

    /// What is in a directory below the mount of this number.
    pub async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        pattern: Option<&str>,
    ) -> Result<Vec<FileStat>, SolveError> {
        let (path, pattern) = (path.to_owned(), pattern.map(str::to_owned));
        self.look_into(mount, move |root| look::read_dir(root, &path, pattern.as_deref())).await
    }

    /// What is at a path below the mount of this number.
    pub async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, SolveError> {
        let path = path.to_owned();
        self.look_into(mount, move |root| look::stat_file(root, &path)).await
    }

    async fn look_into<T: Send + 'static>(
        &self,
        mount: usize,
        look: impl FnOnce(&OwnedFd) -> Result<T, SolveError> + Send + 'static,
    ) -> Result<T, SolveError> {
        let inner = &self.inner;
        let mounts = &inner.exec.mounts;
        let Some(found) = mounts.get(mount) else {
            let count = mounts.len();
            let problem = format!("mount index {mount} is out of bounds ({count} available)");
            return Err(SolveError::Invalid(problem));
        };
        let look = async {
            let (id, root) = self.root_of(mount, found).await?;
            // What is mounted in a container may be a file system that does not answer.
            let looked = engine::work::foreign([id], move || Ok(look(&root)));
            looked.await?
        };
        tokio::select! {
            biased;
            () = inner.released.cancelled() => Err(SolveError::Cancelled),
            looked = look => looked,
        }
    }

    /// The root of what a mount shows, and what that is called where its users are counted.
    async fn root_of(&self, mount: usize, found: &pb::Mount) -> Result<(String, OwnedFd), SolveError> {
        let inner = &self.inner;
        if let Some(place) = &inner.places[mount] {
            let root = offload::in_place(|| crate::context::directory(place));
            let root = root.map_err(SolveError::io(format_args!("open the mount {}", found.dest)))?;
            return Ok((place.display().to_string(), root));
        }
        if found.dest != "/" {
            return Err(SolveError::Unsupported(format!("the mount {} has no files to look at", found.dest)));
        }
        let started = match &*inner.state.lock().await {
            State::Released => return Err(SolveError::Cancelled),
            State::Started { running, .. } => Some(running.id.clone()),
            State::Ready(_) | State::Failed => None,
        };
        match started {
            Some(id) => {
                let root = inner.job.inner.solver.engine().container_root(&id).await?;
                Ok((id.to_string(), root))
            }
            None => {
                let step = step(&inner.job, &inner.vertex, &inner.inputs);
                let root = value::root(&inner.job, &step.input(found.input)?).await?;
                let root = root.fd.try_clone().map_err(SolveError::io("look into a container"))?;
                Ok(("builds".to_owned(), root))
            }
        }
    }
}

impl Process {
    /// What talks to it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits for its end, and says with what; its output is read meanwhile, or it may never end.
    pub async fn wait(&mut self) -> Result<i32, SolveError> {
        let inner = &self.container.inner;
        let status = tokio::select! {
            biased;
            () = inner.released.cancelled() => Err(SolveError::Cancelled),
            status = &mut self.exit => status.map_err(SolveError::from),
        };
        self.ended.store(true, Ordering::Relaxed);
        Ok(status?.code)
    }

    /// The end of its container, which is its own.
    pub fn released(&self) -> CancellationToken {
        self.container.inner.released.clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.container.inner.processes.fetch_sub(1, Ordering::Relaxed);
        if self.ended.load(Ordering::Relaxed) || self.container.inner.released.is_cancelled() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let handle = self.handle.clone();
            runtime.spawn(async move {
                if let Err(error) = handle.signal("KILL").await {
                    tracing::debug!(%error, "a process that nobody talks to any more");
                }
            });
        }
    }
}

impl Handle {
    fn of(engine: &Engine, which: Which, attached: &Attached) -> Self {
        let (input, resize) = (attached.input.clone(), attached.resize.clone());
        Self { engine: engine.clone(), which, input, resize }
    }

    /// Writes to it; waits while it does not read.
    pub async fn write(&self, bytes: Bytes) -> Result<(), SolveError> {
        Ok(self.input.write(bytes).await?)
    }

    /// It reads the end.
    pub async fn close(&self) -> Result<(), SolveError> {
        Ok(self.input.close().await?)
    }

    /// Sets the size of its terminal.
    pub async fn resize(&self, size: TerminalSize) -> Result<(), SolveError> {
        Ok(self.resize.resize(size).await?)
    }

    /// Sends it a signal, by name.
    pub async fn signal(&self, name: &str) -> Result<(), SolveError> {
        match &self.which {
            Which::First(id) => self.engine.container_kill(id, Some(name)).await?,
            Which::Further(id) => self.engine.exec_kill(id, name).await?,
        }
        Ok(())
    }
}

/// One more process of a container, unless it does not come to be.
struct Counted<'a>(Option<&'a Inner>);

impl<'a> Counted<'a> {
    fn new(inner: &'a Inner) -> Result<Self, SolveError> {
        let counted = Self(Some(inner));
        if inner.processes.fetch_add(1, Ordering::Relaxed) >= PROCESSES_MAX {
            return Err(SolveError::Failed(format!(
                "a container has {PROCESSES_MAX} processes that its client started, as many as it may have"
            )));
        }
        Ok(counted)
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(inner) = self.0 {
            inner.processes.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn name_of(line: &str) -> &str {
    line.split('=').next().unwrap_or_default()
}

fn add_default(env: &mut Vec<String>, line: &str) {
    if !env.iter().any(|known| name_of(known) == name_of(line)) {
        env.push(line.to_owned());
    }
}

/// What takes away the variables of the first process that another has not.
fn removed(first: &[String], own: &[String]) -> Vec<String> {
    let names = first.iter().map(|line| name_of(line)).chain(["HOSTNAME"]);
    names.filter(|name| !own.iter().any(|line| name_of(line) == *name)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_process_has_nothing_of_the_first_ones_variables() {
        let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let first = of(&["PATH=/bin", "A=1", "B=2=3", "HOSTNAME"]);
        assert_eq!(removed(&first, &of(&["PATH=/sbin", "B="])), ["A", "HOSTNAME", "HOSTNAME"]);
        let mut env = of(&["TERM=dumb"]);
        add_default(&mut env, TERM);
        add_default(&mut env, PATH);
        assert_eq!(env, ["TERM=dumb", PATH]);
    }
}

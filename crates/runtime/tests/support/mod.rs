//! What the tests of this crate share: sandboxes with a busybox root, taken away again when dropped.
#![allow(dead_code, reason = "each test target uses its own part")]

use std::path::{Path, PathBuf};

use runtime::Rootfs;
use runtime::shim::descriptors::Descriptors;
use runtime::shim::protocol::{ExitStatus, Kind, LogSpec, Request, Response, Stdio, Streams};
use runtime::shim::{Client, ClientError, Connection, LaunchSpec, Network, ShimHandle, launch};
use runtime::spec::{Process, Spec};
use tempfile::TempDir;

/// The runtime's own program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_gantry-runtime");

/// The same, which does as on kernels before 6.17.
pub(crate) const PROGRAM_OF_OLD: &str = env!("CARGO_BIN_EXE_gantry-runtime-of-old");

/// What an attacker runs in a container.
pub(crate) const ATTACKER: &str = env!("CARGO_BIN_EXE_gantry-attacker");

/// A shim with a directory of its own.
pub(crate) struct Sandbox {
    pub(crate) dir: TempDir,
    pub(crate) handle: ShimHandle,
    pub(crate) cgroup: PathBuf,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: ExitStatus,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.status.code, code, "{self:?}");
        self
    }
}

/// A configuration that runs a shell command with Docker's defaults.
pub(crate) fn shell(command: &str) -> Spec {
    let mut spec = runtime::defaults::spec();
    let process = spec.process.as_mut().expect("the default has a process");
    process.args = vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()];
    spec
}

/// A process that runs a shell command.
pub(crate) fn shell_process(command: &str) -> Process {
    Process {
        args: vec!["/bin/sh".to_owned(), "-c".to_owned(), command.to_owned()],
        env: vec![format!("PATH={}", runtime::defaults::PATH)],
        cwd: "/".into(),
        ..Process::default()
    }
}

/// Fills a bundle: a busybox root and a configuration.
pub(crate) fn bundle(dir: &Path, spec: &Spec) -> Rootfs {
    let rootfs = dir.join("rootfs");
    if !rootfs.exists() {
        std::fs::create_dir_all(&rootfs).expect("make the root directory");
        testkit::rootfs::busybox(&rootfs);
    }
    spec.save(&dir.join("config.json")).expect("write the configuration");
    Rootfs::Path(rootfs)
}

/// A cgroup path that no other test has.
pub(crate) fn cgroup_path(dir: &Path) -> PathBuf {
    let name = dir.file_name().expect("a temporary directory has a name").to_string_lossy();
    PathBuf::from(format!("/gantry-test{name}"))
}

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A sandbox whose launch `change` has changed.
    #[track_caller]
    pub(crate) fn with(change: impl FnOnce(&mut LaunchSpec)) -> Self {
        testkit::require_root();
        let dir = tempfile::tempdir().expect("temporary directory");
        let cgroup = cgroup_path(dir.path());
        let mut spec = LaunchSpec {
            id: "sandbox".to_owned(),
            run_dir: dir.path().join("run"),
            state_dir: dir.path().join("state"),
            network: Network::New,
            ipc: false,
            hostname: None,
            pid: false,
            users: None,
            cgroup: None,
            log: dir.path().join("shim.log"),
            program: Some(PROGRAM.into()),
        };
        change(&mut spec);
        let handle = launch(&spec).expect("launch a shim");
        Self { dir, handle, cgroup }
    }

    pub(crate) fn client(&self) -> Client {
        self.handle.connect().expect("connect to the shim")
    }

    #[track_caller]
    pub(crate) fn ask(&self, request: &Request) -> Response {
        self.client().ask(request).unwrap_or_else(|error| panic!("{error}; shim log: {}", self.log()))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("shim.log")).unwrap_or_default()
    }

    /// Writes the bundle of a container, in a cgroup below the sandbox's.
    pub(crate) fn bundle(&self, id: &str, mut spec: Spec) -> (PathBuf, Rootfs) {
        let path = self.dir.path().join(id);
        std::fs::create_dir_all(&path).expect("make the bundle");
        let linux = spec.linux.get_or_insert_default();
        linux.namespaces.retain(|namespace| namespace.kind != runtime::spec::NamespaceKind::Network);
        linux.cgroups_path = Some(self.cgroup.join(id));
        let rootfs = bundle(&path, &spec);
        (path, rootfs)
    }

    /// The request for a container, and what goes with it.
    pub(crate) fn create_with(&self, id: &str, spec: Spec, stdio: Stdio) -> (Request, Descriptors) {
        let (bundle, rootfs) = self.bundle(id, spec.clone());
        let mut with = Descriptors::default();
        with.complete(&spec, &bundle).expect("open what the configuration names");
        (create_request(id, bundle, rootfs, stdio, &with), with)
    }

    /// The request for a container whose configuration names nothing on the host.
    pub(crate) fn create_request(&self, id: &str, spec: Spec, stdio: Stdio) -> Request {
        self.create_with(id, spec, stdio).0
    }

    /// Asks for a container.
    pub(crate) fn try_create(&self, id: &str, spec: Spec, stdio: Stdio) -> Result<Response, ClientError> {
        let (request, with) = self.create_with(id, spec, stdio);
        self.client().ask_with(&request, &with)
    }

    #[track_caller]
    pub(crate) fn create(&self, id: &str, spec: Spec, stdio: Stdio) -> u32 {
        match self.try_create(id, spec, stdio) {
            Ok(Response::Pid(pid)) => pid,
            other => panic!("unexpected answer {other:?}; shim log: {}", self.log()),
        }
    }

    #[track_caller]
    pub(crate) fn start(&self, id: &str) {
        self.ask(&Request::StartContainer { container: id.to_owned(), limit: None });
    }

    pub(crate) fn attach(&self, id: &str) -> Connection {
        let streams = Streams { stdin: true, stdout: true, stderr: true };
        self.client().attach(id, None, streams).expect("attach")
    }

    /// Creates, attaches, starts, waits.
    #[track_caller]
    pub(crate) fn run(&self, id: &str, spec: Spec) -> Outcome {
        self.create(id, spec, Stdio::default());
        let connection = self.attach(id);
        self.start(id);
        outcome(connection)
    }

    /// Runs a shell command in a container.
    #[track_caller]
    pub(crate) fn exec(&self, id: &str, name: &str, process: Process) -> Outcome {
        let stdio = Stdio { terminal: process.terminal, ..Stdio::default() };
        self.exec_with(id, name, process, stdio)
    }

    #[track_caller]
    pub(crate) fn exec_with(&self, id: &str, name: &str, process: Process, stdio: Stdio) -> Outcome {
        outcome(self.exec_attached(id, name, process, stdio))
    }

    #[track_caller]
    pub(crate) fn exec_attached(&self, id: &str, name: &str, process: Process, stdio: Stdio) -> Connection {
        let attach = Some(Streams { stdin: true, stdout: true, stderr: true });
        let (container, exec) = (id.to_owned(), name.to_owned());
        let mut client = self.client();
        client
            .ask(&Request::Exec { container, exec, process, stdio, attach, limit: None })
            .unwrap_or_else(|error| panic!("{error}; shim log: {}", self.log()));
        client.into_connection()
    }

    /// Where a log of the sandbox goes.
    pub(crate) fn log_spec(&self, name: &str) -> LogSpec {
        LogSpec { path: self.dir.path().join(name), max_size: 0, max_files: 0, json: false }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Ok(mut client) = self.handle.connect() {
            let _ = client.ask(&Request::Shutdown);
        }
        if let Ok(cgroup) = runtime::cgroup::Cgroup::at(&self.cgroup) {
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
    }
}

/// A request for a container with what goes with it announced.
pub(crate) fn create_request(
    id: &str,
    bundle: PathBuf,
    rootfs: Rootfs,
    stdio: Stdio,
    with: &Descriptors,
) -> Request {
    Request::CreateContainer {
        container: id.to_owned(),
        bundle,
        rootfs,
        stdio,
        descriptors: with.names(),
        stop: None,
        limit: None,
    }
}

/// Reads streams until the process has exited.
#[track_caller]
pub(crate) fn outcome(mut connection: Connection) -> Outcome {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        let frame = connection.receive().expect("receive").expect("an exit comes before the end");
        match frame.kind {
            Kind::Stdout => stdout.extend(frame.payload),
            Kind::Stderr => stderr.extend(frame.payload),
            Kind::Exited => {
                return Outcome {
                    stdout: String::from_utf8_lossy(&stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&stderr).into_owned(),
                    status: frame.json().expect("a status"),
                };
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

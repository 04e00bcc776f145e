//! An engine of its own for each test, on a host of its own: a network namespace that only the
//! test knows, a temporary root, cgroups with a name of their own. All is taken away at the end.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base::{Clock, SystemClock, SystemRandom};
use engine::container::{ContainerFilter, LogOptions, LogQuery, RemoveOptions, Status, WaitCondition};
use engine::image::ImportSpec;
use engine::sandbox::SandboxFilter;
use engine::{Config, ContainerId, ContainerSpec, Engine, ExitStatus, OutputKind};
use futures::StreamExt;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;

/// The image that every test has.
pub(crate) const IMAGE: &str = "busybox:latest";

/// The program that holds the tests' containers.
const PROGRAM: &str = env!("CARGO_BIN_EXE_engine-roles");

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A place for engines, with an image in it.
pub(crate) struct Host {
    pub(crate) directory: tempfile::TempDir,
    /// Where everything is instead, if not there.
    on_disk: Option<std::path::PathBuf>,
    instance: String,
}

/// Runs `test` on a host of its own, with an engine that has the image [`IMAGE`].
pub(crate) fn on_host<F: Future<Output = ()>>(test: impl FnOnce(Arc<Host>, Engine) -> F + Send) {
    on_host_with(Host::new, test);
}

/// As [`on_host`], on a disk of `size` bytes (in the words of `mount`).
pub(crate) fn on_small_host<F: Future<Output = ()>>(
    size: &str,
    test: impl FnOnce(Arc<Host>, Engine) -> F + Send,
) {
    let make = || {
        let host = Host::new();
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.expect("mounts of one's own");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .expect("keep mounts to oneself");
        let options = std::ffi::CString::new(format!("size={size}")).expect("no zero byte");
        mount("tmpfs", host.directory.path(), "tmpfs", MountFlags::empty(), options.as_c_str())
            .expect("a small disk");
        host
    };
    on_host_with(make, test);
}

/// As [`on_host`], on a disk that can lose power: root and run directory are on it.
pub(crate) fn on_powered_host<F: Future<Output = ()>>(
    test: impl FnOnce(Arc<Host>, Engine, testkit::PowerCut) -> F + Send,
) {
    let disk = Arc::new(std::sync::Mutex::new(None));
    let kept = Arc::clone(&disk);
    let make = move || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.expect("mounts of one's own");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .expect("keep mounts to oneself");
        let mut host = Host::new();
        let made = testkit::PowerCut::new();
        host.on_disk = Some(made.path());
        *kept.lock().expect("nobody panics with it") = Some(made);
        host
    };
    on_host_with(make, |host, engine| {
        let disk = disk.lock().expect("nobody panics with it").take().expect("it was made");
        test(host, engine, disk)
    });
}

fn on_host_with<F: Future<Output = ()>>(
    make: impl FnOnce() -> Host + Send,
    test: impl FnOnce(Arc<Host>, Engine) -> F + Send,
) {
    testkit::require_root();
    let run = || {
        // SAFETY: nothing of this thread's file descriptors or memory is unshared.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .expect("a network namespace of one's own");
        // What a machine has from its start.
        let loopback = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(loopback.expect("run ip, of the package iproute2").success());
        let host = Arc::new(make());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("start a runtime");
        let guard = CleanUp(Arc::clone(&host));
        runtime.block_on(async {
            let engine = host.open().await;
            import(&engine).await;
            test(Arc::clone(&host), engine).await;
        });
        drop(guard);
    };
    std::thread::scope(|scope| {
        if let Err(panic) = scope.spawn(run).join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Host {
    fn new() -> Self {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let instance = format!("e{:x}n{number}", std::process::id() & 0xffff);
        Self { directory: tempfile::tempdir().expect("temporary directory"), on_disk: None, instance }
    }

    /// The name that its kernel objects carry.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// What an engine here is opened with.
    pub(crate) fn config(&self) -> Config {
        let root = self.path("root");
        let resolv = self.directory.path().join("resolv.conf");
        std::fs::write(&resolv, "nameserver 192.0.2.53\n").expect("write resolv.conf");
        Config {
            run: self.path("run"),
            instance: self.instance.clone(),
            network: net::Config {
                host_resolv_conf: resolv,
                ..net::Config::new(&self.instance, root.join("network"))
            },
            binary: PROGRAM.into(),
            log: LogOptions::default(),
            dns: Vec::new(),
            user_ids: None,
            insecure_registries: Vec::new(),
            image_blobs: engine::image::Blobs::default(),
            descriptors: Some((512, 2048)),
            root,
        }
    }

    /// Opens the engine, perhaps once more.
    pub(crate) async fn open(&self) -> Engine {
        self.open_by(Arc::new(SystemClock::new())).await
    }

    /// As [`Host::open`], by another clock.
    pub(crate) async fn open_by(&self, clock: Arc<dyn Clock>) -> Engine {
        let mut tries = 0;
        loop {
            let opened = Engine::open(self.config(), Arc::clone(&clock), Arc::new(SystemRandom)).await;
            match opened {
                // What another test starts has a copy of each lock of this process until it is a program of its own.
                Err(error) if tries < 100 && error.full_message().contains("in use by another process") => {
                    tries += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => return opened.expect("open the engine"),
            }
        }
    }

    /// Closes the engine, does `meanwhile`, and opens it once more.
    pub(crate) async fn reopen(&self, engine: Engine, meanwhile: impl AsyncFnOnce()) -> Engine {
        engine.close().await;
        drop(engine);
        meanwhile().await;
        self.open().await
    }

    /// The path `name` below the test's directory.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.on_disk.as_deref().unwrap_or(self.directory.path()).join(name)
    }
}

/// Takes away what does not outlive the machine: the run directory, with what is mounted below it.
pub(crate) fn forget_run(host: &Host) {
    let run = host.path("run");
    let mounts = std::fs::read_to_string("/proc/self/mounts").expect("the mounts");
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|place| {
        let place = Path::new(place);
        place != run && place.starts_with(&run)
    });
    for place in below {
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).expect("unmount");
    }
    std::fs::remove_dir_all(run).expect("remove the run directory");
}

/// Removes whatever a test left, also when it failed.
struct CleanUp(Arc<Host>);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let shims = self.0.path("run/shims");
        for entry in std::fs::read_dir(shims).into_iter().flatten().flatten() {
            if let Ok((_, _)) = runtime::shim::ShimHandle::find(&entry.path())
                && let Ok(mut client) = runtime::shim::Client::connect(&entry.path())
            {
                let _ = client.ask(&runtime::shim::protocol::Request::Shutdown);
            }
        }
        // A test that failed may have left memory that was shared.
        for entry in
            std::fs::read_dir(self.0.directory.path().join("run/sandboxes")).into_iter().flatten().flatten()
        {
            let _ = rustix::mount::unmount(entry.path().join("shm"), rustix::mount::UnmountFlags::DETACH);
        }
        for pin in std::fs::read_dir(self.0.path("run/netns")).into_iter().flatten().flatten() {
            let _ = rustix::mount::unmount(pin.path(), rustix::mount::UnmountFlags::DETACH);
        }
        if let Ok(group) = runtime::cgroup::Cgroup::at(&Path::new("/").join(&self.0.instance)) {
            let _ = group.kill_all();
            let _ = group.remove();
        }
    }
}

async fn import(engine: &Engine) {
    let archive = tokio::task::spawn_blocking(testkit::rootfs::busybox_tar).await.expect("make an archive");
    let archive = futures::stream::iter([Ok(bytes::Bytes::from(archive))]).boxed();
    let mut spec = ImportSpec { reference: Some(IMAGE.to_owned()), ..ImportSpec::default() };
    spec.config.env = vec!["PATH=/bin".to_owned()];
    spec.config.command = Some(vec!["/bin/sh".to_owned()]);
    engine.image_import(archive, spec).await.expect("import the image");
}

/// A container without a network that runs a line of shell.
pub(crate) fn shell(line: &str) -> ContainerSpec {
    let mut spec = ContainerSpec {
        image: IMAGE.to_owned(),
        command: Some(["sh", "-c", line].map(str::to_owned).into()),
        ..ContainerSpec::default()
    };
    spec.namespaces.network = engine::container::NetworkMode::None;
    spec
}

/// Makes a container.
#[track_caller]
pub(crate) fn create(engine: &Engine, spec: ContainerSpec) -> impl Future<Output = ContainerId> {
    let engine = engine.clone();
    async move { engine.container_create(spec).await.expect("create the container").id }
}

/// Makes and starts a container.
pub(crate) async fn start(engine: &Engine, spec: ContainerSpec) -> ContainerId {
    let id = create(engine, spec).await;
    engine.container_start(&id).await.expect("start the container");
    id
}

/// Waits until a container does not run.
pub(crate) async fn wait(engine: &Engine, id: &ContainerId) -> ExitStatus {
    let waiting = engine.container_wait(id, WaitCondition::NotRunning).expect("begin to wait");
    tokio::time::timeout(std::time::Duration::from_secs(30), waiting).await.expect("it ends").expect("wait")
}

/// All that a container wrote: standard output, standard error.
pub(crate) async fn logs(engine: &Engine, id: &ContainerId) -> (String, String) {
    let query = LogQuery { stdout: true, stderr: true, ..LogQuery::default() };
    let mut lines = engine.container_logs(id, query).await.expect("read the log");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(line) = lines.next().await {
        let line = line.expect("a log line");
        match line.stream {
            OutputKind::Stdout => out.extend_from_slice(&line.text),
            OutputKind::Stderr => err.extend_from_slice(&line.text),
        }
    }
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8_lossy(&err).into_owned())
}

/// Runs a container to its end; what it wrote to standard output.
pub(crate) async fn output(engine: &Engine, spec: ContainerSpec) -> String {
    let id = start(engine, spec).await;
    let status = wait(engine, &id).await;
    let (out, err) = logs(engine, &id).await;
    assert_eq!(status.code, 0, "{out}{err}");
    engine.container_remove(&id, RemoveOptions::default()).await.expect("remove the container");
    out
}

/// How a container fares, and its exit code.
pub(crate) fn status(engine: &Engine, id: &ContainerId) -> (Status, i32) {
    let state = &engine.container_inspect(id).expect("inspect").state;
    (state.status, state.exit_code)
}

/// Waits until a container fares as `wanted`.
pub(crate) async fn until(engine: &Engine, id: &ContainerId, wanted: Status) {
    testkit::wait_until_async("the container's status", || async {
        let seen = status(engine, id);
        if seen.0 == wanted { Ok(()) } else { Err(seen) }
    })
    .await;
}

/// Removes all that is left.
pub(crate) async fn remove_all(engine: &Engine) {
    let all = ContainerFilter { all: true, ..ContainerFilter::default() };
    for container in engine.container_list(&all).expect("list") {
        let options = RemoveOptions { force: true, volumes: true };
        engine.container_remove(&container.id, options).await.expect("remove a container");
    }
    for sandbox in engine.sandbox_list(&SandboxFilter::default()) {
        engine.sandbox_remove(&sandbox.id).await.expect("remove a sandbox");
    }
}

/// Fills a disk down to the last byte, by the file that is given: records are small.
pub(crate) fn fill_disk(filler: &Path) {
    let mut file = std::fs::File::create(filler).expect("make a file");
    let block = vec![1; 64 << 10];
    let mut size = block.len();
    while size > 0 {
        match std::io::Write::write(&mut file, &block[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => size /= 2,
            Err(error) => panic!("fill the disk: {error}"),
        }
    }
}

/// A file or directory that cannot be changed while this is held.
pub(crate) struct Immutable(std::path::PathBuf);

impl Immutable {
    pub(crate) fn new(path: std::path::PathBuf) -> Self {
        assert!(chattr("+i", &path), "this test needs a file system with immutable files");
        Self(path)
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(change: &str, path: &Path) -> bool {
    std::process::Command::new("chattr").arg(change).arg(path).status().expect("run chattr").success()
}

//! A daemon on a temporary root, and its end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::client::{self, Ran, Running};

/// The image that every daemon starts with: busybox alone.
pub const IMAGE: &str = "busybox:test";

/// Where `scripts/clients` puts the newest clients.
const NEWEST: &str = "/opt/clients-for-tests";

/// A disk of so many bytes, which only the daemon and what it starts have mounted.
#[derive(Clone, Copy, Debug)]
enum Disk {
    /// In memory.
    Memory(u64),
    /// A file with a file system (ext4) on it, which can be written to as slowly as one likes and flushed.
    File(u64),
}

/// A running daemon. Its containers and files go with it.
pub struct Daemon {
    directory: tempfile::TempDir,
    instance: String,
    process: Option<Child>,
    /// A disk of its own that its root is on.
    disk: Option<Disk>,
    /// How many files it may have open when it begins, unless it raises that.
    files: Option<u64>,
}

impl Daemon {
    /// Starts a daemon that has [`IMAGE`].
    #[track_caller]
    pub fn start() -> Self {
        let daemon = Self::start_empty();
        daemon.import_image();
        daemon
    }

    /// Starts a daemon that has nothing yet.
    #[track_caller]
    pub fn start_empty() -> Self {
        Self::start_with(None, None)
    }

    /// Starts a daemon that has [`IMAGE`], from a shell that lets it have `files` open.
    #[track_caller]
    pub fn start_with_files(files: u64) -> Self {
        let daemon = Self::start_with(None, Some(files));
        daemon.import_image();
        daemon
    }

    /// Starts a daemon that has [`IMAGE`], on a disk of `bytes`.
    #[track_caller]
    pub fn start_on_small_disk(bytes: u64) -> Self {
        let daemon = Self::start_with(Some(Disk::Memory(bytes)), None);
        daemon.import_image();
        daemon
    }

    /// As [`Daemon::start_on_small_disk`], on a disk with a file system (ext4) of its own.
    #[track_caller]
    pub fn start_on_file_system(bytes: u64) -> Self {
        let daemon = Self::start_with(Some(Disk::File(bytes)), None);
        daemon.import_image();
        daemon
    }

    #[track_caller]
    fn start_with(disk: Option<Disk>, files: Option<u64>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        testkit::require_root();
        let directory =
            tempfile::Builder::new().prefix("gantry-docker-").tempdir().expect("temporary directory");
        let instance = format!("t{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut daemon = Self { directory, instance, process: None, disk, files };
        daemon.launch();
        daemon
    }

    /// Starts the daemon's process, which must not run.
    #[track_caller]
    pub fn launch(&mut self) {
        self.launch_with(&[]);
    }

    /// As [`Daemon::launch`], with further flags.
    #[track_caller]
    pub fn launch_with(&mut self, flags: &[&str]) {
        self.begin(flags);
        self.wait_answering();
    }

    /// Starts the daemon's process, which must not run, and does not wait for it.
    #[track_caller]
    pub fn begin(&mut self, flags: &[&str]) {
        assert!(self.process.is_none(), "the daemon runs already");
        let log = self.directory.path().join("log");
        let log = File::options().create(true).append(true).open(log).expect("open the daemon's log");
        let mut command = self.gantry("", &[&["up"], flags].concat());
        command.stdout(log.try_clone().expect("share the log")).stderr(log);
        self.process = Some(command.spawn().expect("start the daemon"));
    }

    /// Waits until the daemon that was started answers.
    #[track_caller]
    pub fn wait_answering(&mut self) {
        testkit::wait_until("the daemon to answer", || {
            let ended =
                self.process.as_mut().and_then(|process| process.try_wait().expect("look after the daemon"));
            if let Some(status) = ended {
                panic!("the daemon ended with {status}:\n{}", self.log());
            }
            match self.raw("GET", "/_ping", "") {
                Ok(answer) if answer.status == 200 => Ok(()),
                other => Err((format!("{other:?}"), self.log())),
            }
        });
    }

    /// Kills the daemon as a crash would; its containers go on.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        process.kill().expect("kill the daemon");
        process.wait().expect("bury the daemon");
    }

    /// Asks the daemon to end, as the machine does when it stops a service.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the daemon runs");
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("stop the daemon");
        testkit::wait_until("the daemon to end", || {
            match process.try_wait().expect("look after the daemon") {
                Some(status) => Ok(status),
                None => Err("it still runs"),
            }
        });
    }

    /// A `gantry` command in the daemon's namespaces. An empty `place` is that of the daemon, any
    /// other has files, networks and a name of its own beside it.
    pub fn gantry(&self, place: &str, words: &[&str]) -> Command {
        let path = |name: &str| self.directory.path().join(name);
        let (bip, pods, services) = if place.is_empty() {
            ("172.17.0.0/16", "10.42.0.0/16", "10.43.0.0/16")
        } else {
            ("172.18.0.0/16", "10.44.0.0/16", "10.45.0.0/16")
        };
        let mut command = match self.holder() {
            // The namespaces of the first start live on in what holds them.
            Some(holder) => {
                let mut command = Command::new("nsenter");
                command.args(["--net", "--mount", "--target", &holder.to_string(), "--"]);
                command
            }
            None => {
                let mut command = Command::new("unshare");
                command.args(["--net", "--mount", "--propagation", "private", "--"]);
                command
            }
        };
        command
            // The first process of the namespaces stays behind the daemon and keeps them.
            .args(["sh", "-c", START, "start"])
            .arg(path("holder"))
            .arg(binary())
            .args(words)
            .arg("--root")
            .arg(path(&format!("root{place}")))
            .arg("--run")
            .arg(path(&format!("run{place}")))
            .args(["--instance", &format!("{}{place}", self.instance)])
            .args(["--bridge", &format!("gantry0{place}")])
            .args(["--bip", bip, "--pod-cidr", pods, "--service-cidr", services])
            .args(["--api-address", "127.0.0.1:6443"])
            .stdin(Stdio::null());
        let disk = self.disk.map_or_else(String::new, |disk| {
            let (kind, bytes) = match disk {
                Disk::Memory(bytes) => ("memory", bytes),
                Disk::File(bytes) => ("file", bytes),
            };
            format!("{kind} {bytes}")
        });
        command.env("DISK", disk).env("DISK_AT", path("root"));
        command.env("FILES", self.files.map_or_else(String::new, |files| files.to_string()));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GANTRY_")) {
            command.env_remove(name);
        }
        // Pods run however full the disk of this machine is.
        command.env("GANTRY_EVICTION_HARD", "memory.available<100Mi,nodefs.available<1Mi");
        command
    }

    /// The daemon's own process.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the daemon runs").id()
    }

    /// Takes all of the daemon's disk but `left` bytes; the file that takes it is at the path given back.
    #[track_caller]
    pub fn fill_disk(&self, left: u64) -> PathBuf {
        let ballast = self.directory.path().join("root/ballast");
        let script = "cat /dev/zero 2>/dev/null > $0; size=$(stat -c %s $0); truncate -s $((size - $1)) $0";
        let words = ["sh", "-c", script, &ballast.display().to_string(), &left.to_string()];
        let ran = client::run(self.in_namespaces(&words), "");
        assert_eq!(ran.code, 0, "fill the disk: {ran:?}");
        ballast
    }

    /// Bytes that are taken on the daemon's disk.
    #[track_caller]
    pub fn disk_used(&self) -> u64 {
        let root = self.directory.path().join("root").display().to_string();
        let ran = client::run(self.in_namespaces(&["df", "--output=used", "-B1", &root]), "");
        ran.stdout.lines().last().and_then(|line| line.trim().parse().ok()).expect("what df prints")
    }

    /// The file in which the administrator's access to the cluster is written.
    pub fn kubeconfig(&self) -> PathBuf {
        self.seen(&self.root().join("kubeconfig"))
    }

    /// Where this process finds what the daemon has at `path`, be it on a disk of its own.
    pub fn seen(&self, path: &Path) -> PathBuf {
        match (self.disk, self.holder()) {
            (Some(_), Some(holder)) => {
                let below = path.strip_prefix("/").unwrap_or(path);
                Path::new("/proc").join(holder.to_string()).join("root").join(below)
            }
            _ => path.to_owned(),
        }
    }

    /// What the daemon's kernel objects are named after.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The daemon's run directory.
    pub fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The shims of the daemon: processes that call themselves after its sockets.
    pub fn shims(&self) -> Vec<rustix::process::Pid> {
        let sockets = std::fs::read_dir(self.run_directory().join("shims")).into_iter().flatten().flatten();
        let titles: Vec<String> = sockets
            .filter_map(|socket| Some(format!("gantry-shim {}", socket.file_name().to_str()?.get(..12)?)))
            .collect();
        let processes = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = pids.filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            titles.iter().any(|title| line.trim_end_matches('\0') == title)
        });
        ours.filter_map(rustix::process::Pid::from_raw).collect()
    }

    /// Runs `docker` to its end.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> Ran {
        client::run(self.client(arguments), "")
    }

    /// Runs `docker` to its end with `input`.
    #[track_caller]
    pub fn docker_with(&self, input: &str, arguments: &[&str]) -> Ran {
        client::run(self.client(arguments), input)
    }

    /// Runs `docker`, which must succeed; gives its output without blanks around it.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ran = self.docker(arguments);
        assert_eq!(ran.code, 0, "docker {}: {ran:?}\n{}", arguments.join(" "), self.log());
        ran.stdout.trim().to_owned()
    }

    /// Runs `docker`, which must fail and say `message`.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str], message: &str) {
        let ran = self.docker(arguments);
        assert_ne!(ran.code, 0, "docker {}: {ran:?}", arguments.join(" "));
        assert!(
            ran.stderr.contains(message),
            "docker {}: {ran:?} does not say {message}",
            arguments.join(" ")
        );
    }

    /// Starts `docker` and lets it run.
    #[track_caller]
    pub fn docker_running(&self, arguments: &[&str]) -> Running {
        Running::start(self.client(arguments))
    }

    /// A `docker` command for this daemon.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.directory.path().join("client"))
            .env("DOCKER_BUILDKIT", "0")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// As [`Daemon::client`], of the newest clients: `docker` with the plugins buildx and compose.
    #[track_caller]
    pub fn newest(&self, arguments: &[&str]) -> Command {
        let clients = Path::new(NEWEST);
        assert!(clients.join("docker").exists(), "there is no docker in {NEWEST}: run scripts/clients");
        let config = self.directory.path().join("newest");
        std::fs::create_dir_all(&config).expect("create a directory");
        // Another thread of the test may have made it.
        let _ = std::os::unix::fs::symlink(clients.join("cli-plugins"), config.join("cli-plugins"));
        let mut command = Command::new(clients.join("docker"));
        command
            .args(arguments)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", config)
            .env("BUILDKIT_PROGRESS", "plain")
            .env_remove("DOCKER_BUILDKIT")
            .env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs the newest `docker`, which must succeed; gives all that it printed.
    #[track_caller]
    pub fn newest_ok(&self, arguments: &[&str]) -> String {
        let ran = client::run(self.newest(arguments), "");
        assert_eq!(ran.code, 0, "docker {}: {ran:?}\n{}", arguments.join(" "), self.log());
        ran.stdout + &ran.stderr
    }

    /// A command in the daemon's network, as programs on its host would run.
    pub fn on_host(&self, program: &str, arguments: &[&str]) -> Command {
        let holder = self.holder().expect("the daemon was started");
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &holder.to_string(), "--", program]).args(arguments);
        command
    }

    /// A command in the daemon's network and among its mounts.
    pub fn in_namespaces(&self, words: &[&str]) -> Command {
        let holder = self.holder().expect("the daemon was started");
        let mut command = Command::new("nsenter");
        command.args(["--net", "--mount", "--target", &holder.to_string(), "--"]).args(words);
        command
    }

    /// What `docker inspect` says of a thing in the words of `format`.
    #[track_caller]
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.ok(&["inspect", "--format", format, name])
    }

    /// The socket of the Docker API.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("run/docker.sock")
    }

    /// The daemon's root.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// The network namespace of the daemon's host.
    pub fn network(&self) -> PathBuf {
        let holder = self.holder().expect("the daemon was started");
        Path::new("/proc").join(holder.to_string()).join("ns/net")
    }

    /// A directory for the test's own files.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join("scratch").join(name);
        std::fs::create_dir_all(&path).expect("create a directory");
        path
    }

    /// What the daemon logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn import_image(&self) {
        static ARCHIVE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let archive = ARCHIVE.get_or_init(testkit::rootfs::busybox_tar);
        let mut client =
            self.client(&["import", "--change", "CMD [\"sh\"]", "--change", "ENV PATH=/bin", "-", IMAGE]);
        let mut process = client
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("run docker");
        process.stdin.take().expect("a pipe").write_all(archive).expect("send the archive");
        let output = process.wait_with_output().expect("wait for docker");
        assert!(output.status.success(), "docker import: {output:?}\n{}", self.log());
    }

    /// The process that keeps the namespaces.
    fn holder(&self) -> Option<u32> {
        std::fs::read_to_string(self.directory.path().join("holder")).ok()?.trim().parse().ok()
    }
}

/// Brings up loopback, leaves a process behind that keeps the namespaces, and becomes the daemon.
const START: &str = r#"
if [ ! -e "$1" ]; then
    busybox ip link set lo up || exit 1
    case $DISK in
    memory*) mkdir -p "$DISK_AT" && busybox mount -t tmpfs -o "size=${DISK#* }" disk "$DISK_AT" || exit 1 ;;
    file*)
        mkdir -p "$DISK_AT" && truncate -s "${DISK#* }" "$DISK_AT.disk" && mkfs.ext4 -q -F -m 0 "$DISK_AT.disk" \
            && mount -t ext4 -o loop "$DISK_AT.disk" "$DISK_AT" || exit 1 ;;
    esac
    setsid busybox sleep 86400 </dev/null >/dev/null 2>&1 &
    echo $! > "$1"
fi
shift
if [ -n "$FILES" ]; then
    ulimit -Sn "$FILES" || exit 1
fi
exec "$@"
"#;

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
        if let Some(mut process) = self.process.take() {
            let pid = rustix::process::Pid::from_child(&process);
            // What cannot be stopped is reported by the wait.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = process.wait();
        }
        if self.holder().is_some() {
            let reset = client::run(self.gantry("", &["reset", "--yes"]), "");
            if reset.code != 0 {
                eprintln!("gantry reset: {reset:?}");
            }
        }
        remove_cgroups(&self.instance);
        let holder = self.holder().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(holder) = holder {
            let _ = rustix::process::kill_process(holder, rustix::process::Signal::KILL);
        }
    }
}

/// Removes the cgroups named after an instance, of either version; what still has processes stays.
fn remove_cgroups(instance: &str) {
    let mounted = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(mounted).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([mounted.to_owned()]) {
        remove_below(&hierarchy.join(instance));
    }
}

/// Removes a tree of cgroups, whose files go with their directories.
fn remove_below(cgroup: &Path) {
    let Ok(entries) = std::fs::read_dir(cgroup) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_below(&entry.path());
    }
    // One that is in use shows a container that outlived its test, which has failed then.
    let _ = std::fs::remove_dir(cgroup);
}

/// The binary under test: beside the test's own program, or where `TEST_GANTRY` says.
#[track_caller]
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TEST_GANTRY") {
        return path.into();
    }
    let own = std::env::current_exe().expect("the path of this program");
    let built = own.ancestors().nth(2).unwrap_or(Path::new("/")).join("gantry");
    assert!(built.exists(), "{} is missing: run `cargo build -p gantry` first", built.display());
    built
}

//! What a container should be: everything that its creator can say.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::resources::Resources;
use crate::id::{ContainerId, SandboxId};
use crate::network::EndpointSpec;
use crate::stream::TerminalSize;

/// What a container should be. Everything but `image` may be left at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerSpec {
    /// The name; one is made up where there is none.
    pub name: Option<String>,
    /// The image as the user named it: reference, id, or unique prefix of an id. It must be present.
    pub image: String,
    /// The platform wanted (`linux/arm64`), where it is not the host's.
    pub platform: Option<String>,
    /// The sandbox to live in; without one the container gets its own, with its own network.
    pub sandbox: Option<SandboxId>,
    /// Arguments; `None` takes the image's (unless `entrypoint` is given).
    pub command: Option<Vec<String>>,
    /// The program; `None` takes the image's, an empty one resets it.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, over the image's; `NAME` alone removes it.
    pub env: Vec<String>,
    /// The working directory; `None` takes the image's.
    pub workdir: Option<String>,
    /// `user[:group]`, by name or number; `None` takes the image's.
    pub user: Option<String>,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
    /// It is in no groups but those that are named: what the image's `/etc/group` says of its user
    /// does not count.
    pub strict_groups: bool,
    /// Gives the process a terminal.
    pub tty: bool,
    /// Keeps a standard input open.
    pub stdin_open: bool,
    /// Closes the standard input when the first attached client goes.
    pub stdin_once: bool,
    /// What the creator means to attach to; kept, not acted on.
    pub attach: AttachFlags,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// Notes of the front that made the container; the engine keeps and returns them, unread.
    pub annotations: BTreeMap<String, String>,
    /// Host name; `None` takes the short id (or the host's name in the host's network).
    pub hostname: Option<String>,
    /// Domain name.
    pub domainname: Option<String>,
    /// Mounts, in order. Volumes that the image declares are added.
    pub mounts: Vec<Mount>,
    /// Limits.
    pub resources: Resources,
    /// What the processes may do.
    pub security: Security,
    /// The root file system is read-only.
    pub read_only_rootfs: bool,
    /// Runs the engine's reaper as process 1, the program as its child.
    pub init: bool,
    /// Which namespaces are shared with whom.
    pub namespaces: Namespaces,
    /// The networks to join, for [`NetworkMode::Networks`] in addition to the first, with what each endpoint asks for.
    pub networks: BTreeMap<String, EndpointSpec>,
    /// The MAC address wanted on the first network.
    pub mac_address: Option<String>,
    /// Name resolution.
    pub dns: Dns,
    /// Lines for `/etc/hosts`.
    pub extra_hosts: Vec<HostEntry>,
    /// Container ports that exist, besides the image's: for publish-all and for listings.
    pub exposed_ports: Vec<Port>,
    /// Container ports that are reachable from the host.
    pub ports: Vec<PortBinding>,
    /// Publishes every exposed port on a free host port.
    pub publish_all: bool,
    /// What happens when the program ends.
    pub restart: RestartPolicy,
    /// The signal that asks it to stop, by name or number; `None` takes the image's, or SIGTERM.
    pub stop_signal: Option<String>,
    /// How long it may take to stop before it is killed, in seconds; `None` is ten, negative is for ever.
    pub stop_timeout: Option<i64>,
    /// `None` takes the image's.
    pub healthcheck: Option<Healthcheck>,
    /// `None` takes the engine's default.
    pub log: Option<LogOptions>,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Removes the container when it ends.
    pub auto_remove: bool,
    /// It belongs to work of the process that makes it, a step of a build: an engine that is opened
    /// and finds it removes it. [`crate::Engine::container_keep`] takes this back.
    pub transient: bool,
    /// Size of `/dev/shm` in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
    /// There is no `/dev/shm` at all.
    pub no_shared_memory: bool,
    /// The size of its terminal at the beginning.
    pub console_size: Option<TerminalSize>,
    /// The cgroup below which the container's is made; `None` is the sandbox's or the engine's own.
    pub cgroup_parent: Option<String>,
    /// An OCI runtime other than the built-in one, by its name.
    pub runtime: Option<String>,
    /// Options of the root file system's storage.
    pub storage_options: BTreeMap<String, String>,
}

/// Which streams the creator means to attach to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachFlags {
    /// Standard input.
    pub stdin: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// One mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Where in the container: an absolute path.
    pub target: String,
    /// Nothing can be written.
    pub read_only: bool,
    /// What is mounted.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// The part of it that is shown, found without leaving it, whatever links those who can
        /// write there have made; `None` is the whole.
        subpath: Option<String>,
        /// What it must be when it is mounted; `None` is anything.
        must_be: Option<FileKind>,
        /// How mounts travel across it.
        propagation: Propagation,
        /// Makes the directory (the part that is shown, if one is named) where it is missing
        /// (`-v`), instead of failing (`--mount`).
        create: bool,
        /// Leaves out the mounts below it.
        non_recursive: bool,
        /// Leaves the mounts below it as they are where it is read-only itself.
        writable_below: bool,
    },
    /// A volume; a new anonymous one where there is no name.
    Volume {
        /// The volume's name.
        name: Option<String>,
        /// Does not fill an empty volume with what the image has at the target.
        no_copy: bool,
        /// The part of the volume that is shown.
        subpath: Option<String>,
        /// The driver, labels and options a volume is made with where it does not exist.
        driver: Option<String>,
        /// Labels of a new volume.
        labels: BTreeMap<String, String>,
        /// Options of a new volume.
        options: BTreeMap<String, String>,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None` is half of the machine's memory.
        size: Option<u64>,
        /// Permission bits; `None` is 1777.
        mode: Option<u32>,
        /// Further mount options (`noexec`, `uid=…`).
        options: Vec<String>,
    },
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// How mounts travel across a bind mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Rprivate,
    /// Not at all, this mount alone.
    Private,
    /// From the host into the container.
    Rslave,
    /// From the host into the container, this mount alone.
    Slave,
    /// Both ways.
    Rshared,
    /// Both ways, this mount alone.
    Shared,
}

/// What the processes of a container may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    /// All capabilities, all devices, no filter, nothing masked.
    pub privileged: bool,
    /// Capabilities to add to the default set (`NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`).
    pub cap_add: Vec<String>,
    /// Capabilities to take from the default set.
    pub cap_drop: Vec<String>,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile.
    pub apparmor: AppArmor,
    /// The container's own part of the control groups can be written; `None` where it is privileged.
    pub writable_cgroups: Option<bool>,
    /// Programs gain no privileges by set-user-id.
    pub no_new_privileges: bool,
    /// Paths that are hidden; `None` is the default set.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that are read-only; `None` is the default set.
    pub read_only_paths: Option<Vec<String>>,
    /// The security options as the user gave them, for listings.
    pub options: Vec<String>,
}

/// Which system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The built-in profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's or OCI's JSON form.
    Profile(String),
}

/// Which AppArmor profile confines a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AppArmor {
    /// The default profile where the host has AppArmor and the container is not privileged.
    #[default]
    Default,
    /// The default profile; refused where the host has none.
    RuntimeDefault,
    /// None.
    Unconfined,
    /// The named profile, which must be loaded.
    Profile(String),
}

/// Which namespaces a container shares with whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// The network; has no say in a given sandbox.
    pub network: NetworkMode,
    /// Processes.
    pub pid: NamespaceMode,
    /// System V and POSIX message queues, `/dev/shm`.
    pub ipc: NamespaceMode,
    /// Host name.
    pub uts: NamespaceMode,
    /// Users.
    pub user: NamespaceMode,
    /// The view of cgroups.
    pub cgroup: NamespaceMode,
}

/// Whose namespace a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// What is usual: its own (its sandbox's, for those that the sandbox shares; the host's, for users).
    #[default]
    Default,
    /// Its own.
    Private,
    /// Its own, which others may join.
    Shareable,
    /// The host's.
    Host,
    /// Another container's.
    Container(ContainerId),
}

/// How a container of its own sandbox is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// The default bridge.
    #[default]
    Bridge,
    /// Loopback only.
    None,
    /// The host's own.
    Host,
    /// The named network (name or id).
    Network(String),
    /// The other container's, which must be running.
    Container(ContainerId),
}

/// Name resolution of a container or sandbox; empty lists take the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Name servers.
    pub servers: Vec<IpAddr>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options (`ndots:5`).
    pub options: Vec<String>,
}

/// One name in `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// The names, the first of them canonical.
    pub names: Vec<String>,
    /// The address; `None` is the host as the container sees it (`host-gateway`).
    pub address: Option<IpAddr>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// A port inside a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number, from 1.
    pub number: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A port of a container that is reachable from the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortBinding {
    /// The container's port.
    pub container: Port,
    /// The host's address; `None` is all.
    pub host_address: Option<IpAddr>,
    /// The host's port, or the first of a range to choose from; `None` is any free one.
    pub host_port: Option<u16>,
    /// The last of the range to choose from.
    pub host_port_end: Option<u16>,
}

/// What happens when a container's program ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// It is started again if it failed, so often at most (`None`: for ever).
    OnFailure {
        /// How often at most.
        retries: Option<u32>,
    },
    /// It is started again, also when the engine starts, unless it is stopped by hand while the engine runs.
    Always,
    /// As `Always`, and what was stopped by hand stays stopped when the engine starts.
    UnlessStopped,
}

/// How a container's health is found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthTest,
    /// Time between two checks; `None` is 30 s.
    pub interval: Option<Duration>,
    /// Time that one may take; `None` is 30 s.
    pub timeout: Option<Duration>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Duration>,
    /// Time between checks in the start period; `None` is 5 s.
    pub start_interval: Option<Duration>,
    /// Failures in a row until it is unhealthy; `None` is 3.
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthTest {
    /// The image's.
    #[default]
    Inherit,
    /// Nothing, also where the image has one.
    Disabled,
    /// The program with its arguments.
    Command(Vec<String>),
    /// A line for the image's shell.
    Shell(String),
}

/// How a container's output is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// The name that the front shows for it; everything but `none` is kept in one format.
    pub driver: String,
    /// The options as the user gave them, for listings.
    pub options: BTreeMap<String, String>,
    /// Bytes of one file; a fuller one is rotated.
    pub max_size: Option<u64>,
    /// Files kept, the current one included.
    pub max_files: Option<u32>,
    /// Where the log goes, if not into the container's own directory; whoever says this owns the
    /// file, which then outlives the container.
    pub path: Option<PathBuf>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            driver: "json-file".to_owned(),
            options: BTreeMap::new(),
            max_size: Some(16 << 20),
            max_files: Some(5),
            path: None,
        }
    }
}

impl LogOptions {
    /// Whether output is kept at all.
    pub fn is_kept(&self) -> bool {
        self.driver != "none"
    }
}

//! What a container is: what the engine tells about it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::Timestamp;

use super::spec::{ContainerLink, ContainerSpec, Healthcheck, LogOptions, Port};
use crate::error::Fact;
use crate::id::{ContainerId, ExecId, SandboxId};
use crate::network::Endpoint;

/// Everything that is known of a container.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// The sandbox it lives in.
    pub sandbox: SandboxId,
    /// When it was made.
    pub created: Timestamp,
    /// What was asked for, as updated since.
    pub spec: Arc<ContainerSpec>,
    /// What the image added: what it really runs with.
    pub resolved: Arc<ResolvedSpec>,
    /// Its state.
    pub state: ContainerState,
    /// What is mounted in it.
    pub mounts: Vec<MountPoint>,
    /// Its networks by name, while it runs (and what is asked for, before).
    pub networks: BTreeMap<String, Endpoint>,
    /// The containers that it knows by names of its own.
    pub links: Vec<ContainerLink>,
    /// What others call it, `container/alias`.
    pub linked_as: Vec<String>,
    /// Its ports: those published while it runs, with where; and those only exposed.
    pub ports: Vec<PublishedPort>,
    /// Processes that were added to it and are still remembered.
    pub execs: Vec<ExecId>,
    /// How often its restart policy has started it.
    pub restart_count: u32,
    /// Where its files are.
    pub files: ContainerFiles,
    /// The directories of its root file system, topmost first: its own, then its image's.
    pub layers: Vec<PathBuf>,
}

/// What a container really runs with: its own wishes over the image's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResolvedSpec {
    /// The image's id (`sha256:…`, of its configuration).
    pub image_id: String,
    /// The digest of the image's manifest.
    pub image_manifest: String,
    /// The image's platform, `linux/amd64`.
    pub platform: String,
    /// The program and its arguments.
    pub args: Vec<String>,
    /// The first part of `args` that came from the entry point.
    pub entrypoint: Vec<String>,
    /// The second part.
    pub command: Vec<String>,
    /// The environment.
    pub env: Vec<String>,
    /// The working directory.
    pub workdir: String,
    /// The user as text.
    pub user: String,
    /// The host name.
    pub hostname: String,
    /// Labels, the image's included.
    pub labels: BTreeMap<String, String>,
    /// Exposed ports, the image's included.
    pub exposed_ports: Vec<Port>,
    /// Volumes that the image declares.
    pub image_volumes: Vec<String>,
    /// The signal that asks it to stop.
    pub stop_signal: String,
    /// The health check, if any.
    pub healthcheck: Option<Healthcheck>,
    /// How the log is kept.
    pub log: LogOptions,
    /// The shell of the image for shell-form health checks.
    pub shell: Vec<String>,
}

/// Where a container's files are on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerFiles {
    /// The current log file, where one is kept.
    pub log: Option<PathBuf>,
    /// What is shown as `/etc/hosts`.
    pub hosts: PathBuf,
    /// What is shown as `/etc/hostname`.
    pub hostname: PathBuf,
    /// What is shown as `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Status {
    /// Made, never started.
    #[default]
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its program has ended and will be started again.
    Restarting,
    /// Its program has ended.
    Exited,
    /// Its removal failed half-way.
    Dead,
    /// It is being removed.
    Removing,
}

impl Status {
    /// The word that listings show.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Dead => "dead",
            Status::Removing => "removing",
        }
    }

    /// Whether its processes exist.
    pub fn is_active(self) -> bool {
        matches!(self, Status::Running | Status::Paused)
    }
}

/// A container's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerState {
    /// Where it is in its life.
    pub status: Status,
    /// Process 1 as the host sees it, while it runs.
    pub pid: Option<u32>,
    /// How the last run ended; 0 before.
    pub exit_code: i32,
    /// Why the last start failed.
    pub error: String,
    /// What that says, where fronts have words of their own for it.
    pub fact: Option<Fact>,
    /// The last run was ended by the kernel, for want of memory.
    pub oom_killed: bool,
    /// When the last run began.
    pub started_at: Option<Timestamp>,
    /// When the last run ended.
    pub finished_at: Option<Timestamp>,
    /// Its health, where it has a check.
    pub health: Option<Health>,
}

/// A container's health.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// The verdict.
    pub status: HealthStatus,
    /// Failures in a row.
    pub failing_streak: u32,
    /// The last checks, oldest first, five at most.
    pub log: Vec<HealthResult>,
}

/// The verdict of health checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthStatus {
    /// No verdict yet.
    #[default]
    Starting,
    /// The last check succeeded.
    Healthy,
    /// So many checks failed in a row.
    Unhealthy,
}

impl HealthStatus {
    /// The word that listings show.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        }
    }
}

/// One health check that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthResult {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// What the program returned; -1 where it took too long.
    pub exit_code: i32,
    /// What it printed, 4 KiB at most.
    pub output: String,
}

/// Something mounted in a container.
#[derive(Clone, Debug, PartialEq)]
pub struct MountPoint {
    /// `bind`, `volume`, `image` or `tmpfs`.
    pub kind: MountKind,
    /// The volume's name.
    pub volume: Option<String>,
    /// The volume's driver.
    pub driver: Option<String>,
    /// Path on the host; empty for memory.
    pub source: PathBuf,
    /// Path in the container.
    pub target: String,
    /// Whether it can be written.
    pub writable: bool,
    /// How mounts travel across it, as Linux names it; empty for volumes and memory.
    pub propagation: String,
    /// The image's id.
    pub image: Option<String>,
}

/// The kind of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume.
    Volume,
    /// An image's files.
    Image,
    /// Memory.
    Tmpfs,
}

/// A port of a container and where it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// The container's port.
    pub container: Port,
    /// The host's address and port; `None` where it is only exposed.
    pub host: Option<std::net::SocketAddr>,
}

/// How much disk a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerSize {
    /// Bytes of what it wrote.
    pub writable: u64,
    /// Bytes of that and its image.
    pub root: u64,
}

/// Which containers to list: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct ContainerFilter {
    /// Also those that do not run.
    pub all: bool,
    /// Ids or prefixes of them, one of.
    pub ids: Vec<String>,
    /// Parts of names, one of (a leading `^` or `/` and a trailing `$` anchor).
    pub names: Vec<String>,
    /// `key` or `key=value`, all of.
    pub labels: Vec<String>,
    /// One of.
    pub statuses: Vec<Status>,
    /// Exit codes of ended containers, one of.
    pub exit_codes: Vec<i32>,
    /// Images (reference, or id) of which it is made, one of.
    pub ancestors: Vec<String>,
    /// Volume names or mount targets, one of.
    pub volumes: Vec<String>,
    /// Network names or ids, one of.
    pub networks: Vec<String>,
    /// `starting`, `healthy`, `unhealthy` or `none`, one of.
    pub health: Vec<String>,
    /// `port[/protocol]` or `first-last[/protocol]` of the host, at which it is published, one of these or of
    /// those that are exposed.
    pub published: Vec<String>,
    /// The same of its own ports, published or not.
    pub exposed: Vec<String>,
    /// Containers of this sandbox.
    pub sandbox: Option<SandboxId>,
    /// Made before this one (name or id).
    pub before: Option<String>,
    /// Made after this one (name or id).
    pub since: Option<String>,
    /// So many at most, newest first; implies `all`.
    pub limit: Option<usize>,
}

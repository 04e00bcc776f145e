//! Containers of pods.

use std::fmt;
use std::path::PathBuf;

use base::Timestamp;

use super::{PodMetadata, PodSandboxId, Port};

/// Names a container, in the runtime's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub String);

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a container should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerConfig {
    /// Whose it is.
    pub pod: PodMetadata,
    /// Its name in its pod.
    pub name: String,
    /// How many instances of it came before this one.
    pub attempt: u32,
    /// The image, as the pod names it.
    pub image: String,
    /// What replaces the image's entry point.
    pub command: Option<Vec<String>>,
    /// What replaces the image's command; where `command` is given, that is gone anyway.
    pub args: Option<Vec<String>>,
    /// `NAME=value`, over the image's.
    pub env: Vec<String>,
    /// The working directory; `None` is the image's.
    pub working_dir: Option<String>,
    /// `user[:group]`; `None` is the image's.
    pub user: Option<String>,
    /// Further groups.
    pub groups: Vec<String>,
    /// It is in no groups but those that are named.
    pub strict_groups: bool,
    /// Gives the process a terminal.
    pub tty: bool,
    /// Keeps a standard input open.
    pub stdin: bool,
    /// Closes the standard input when the first attached client goes.
    pub stdin_once: bool,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Block devices of the host.
    pub devices: Vec<BlockDevice>,
    /// Limits.
    pub resources: Resources,
    /// Bytes that it may write into its root file system.
    pub storage_limit: Option<i64>,
    /// What its processes may do.
    pub security: Security,
    /// The root file system is read-only.
    pub read_only_rootfs: bool,
    /// It is in the host's process namespace.
    pub host_pid: bool,
    /// It is in the process namespace of this container, whatever else is said of that.
    pub processes_of: Option<ContainerId>,
    /// Ports that it says it listens on, for listings.
    pub ports: Vec<Port>,
    /// Where its log goes; the file is the node's, and outlives the container.
    pub log_path: PathBuf,
    /// Bytes of the log after which another file is begun.
    pub log_max_size: u64,
}

/// Something of the host that is mounted in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where in the container.
    pub container_path: String,
    /// What is mounted.
    pub host_path: PathBuf,
    /// The part of it that is shown, found without leaving it whatever links there are, and made as a
    /// directory where it is missing.
    pub sub_path: Option<String>,
    /// What it must be when it is mounted; `None` is anything.
    pub must_be: Option<FileKind>,
    /// Nothing can be written.
    pub read_only: bool,
    /// Nor into what is mounted below it.
    pub recursive_read_only: bool,
    /// How mounts travel across it.
    pub propagation: Propagation,
}

/// A block device of the host that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockDevice {
    /// Where in the container.
    pub container_path: String,
    /// Which.
    pub host_path: PathBuf,
    /// Nothing can be written.
    pub read_only: bool,
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

/// How mounts travel across a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Private,
    /// From the host into the container.
    HostToContainer,
    /// Both ways.
    Bidirectional,
}

/// Limits of a container, or of several together; what is `None` is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_swap: Option<i64>,
    /// Relative weight, 1024 is one processor's.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processes and threads.
    pub pids: Option<i64>,
    /// How readily the kernel kills it, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// The kernel kills all its processes where it would kill one, if it can do that.
    pub oom_group: bool,
}

/// What the processes of a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// Everything.
    pub privileged: bool,
    /// Capabilities beside the default set.
    pub cap_add: Vec<String>,
    /// Capabilities that are taken from it.
    pub cap_drop: Vec<String>,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// The AppArmor profile.
    pub apparmor: AppArmor,
    /// Programs gain no privileges by set-user-id.
    pub no_new_privileges: bool,
    /// Nothing of procfs is hidden or read-only.
    pub unmasked: bool,
}

/// Which system calls are filtered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The runtime's own profile.
    #[default]
    RuntimeDefault,
    /// None.
    Unconfined,
    /// This profile, in JSON.
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

/// A container, in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its name in its pod.
    pub name: String,
    /// How many instances of it came before.
    pub attempt: u32,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// The sandbox that it lives in.
    pub sandbox: PodSandboxId,
    /// Its name in its pod.
    pub name: String,
    /// How many instances of it came before.
    pub attempt: u32,
    /// The image, as the pod named it.
    pub image: String,
    /// The image that it was made of.
    pub image_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When its program began.
    pub started_at: Option<Timestamp>,
    /// When its program ended, or could not be started.
    pub finished_at: Option<Timestamp>,
    /// How its program ended; 0 before.
    pub exit_code: i32,
    /// The kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Its program could not be started.
    pub start_failed: bool,
    /// Why, where it could not.
    pub message: String,
    /// What it may use, as it was told last.
    pub resources: Resources,
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// Made; its program was not started yet.
    Created,
    /// Its processes exist.
    Running,
    /// Its program has ended, or could not be started.
    Exited,
}

impl ContainerStatus {
    /// Whether its processes exist.
    pub fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }
}

/// Something happened to a container: it was started, or it ended, or ran out of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The uid of its pod.
    pub pod: String,
}

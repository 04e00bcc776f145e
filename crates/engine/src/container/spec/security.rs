//! What the processes of a container may do, and what they share with whom.

use crate::id::ContainerId;

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

//! Namespaces, devices and paths of a container on Linux.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Resources, Seccomp, null_default};

/// All that is particular to Linux.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Linux {
    /// Users of the container's user namespace.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Groups of the container's user namespace.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub gid_mappings: Vec<IdMapping>,
    /// Kernel parameters, by their dotted names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub sysctl: BTreeMap<String, String>,
    /// Limits of the cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The cgroup, from the root of the hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups_path: Option<PathBuf>,
    /// Namespaces made or joined; those not named are the runtime's own.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub namespaces: Vec<Namespace>,
    /// Device nodes besides the default ones.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub devices: Vec<LinuxDevice>,
    /// System call filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// `shared`, `slave`, `private` or `unbindable`, with `r` for recursive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs_propagation: Option<String>,
    /// Paths that cannot be read inside.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub masked_paths: Vec<PathBuf>,
    /// Paths that cannot be written inside.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub readonly_paths: Vec<PathBuf>,
    /// SELinux context of the mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_label: Option<String>,
    /// Intel resource director; refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    /// Execution domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<Personality>,
    /// Clocks of a new time namespace, `monotonic` and `boottime`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_default")]
    pub time_offsets: BTreeMap<String, TimeOffset>,
}

impl Linux {
    /// The entry for the namespace `kind`, if the container makes or joins one.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

/// One namespace: new if there is no path, else joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// The namespace to join.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<PathBuf>,
}

impl Namespace {
    /// A new namespace.
    pub fn new(kind: NamespaceKind) -> Self {
        Self { kind, path: None }
    }
}

/// The kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Process ids.
    Pid,
    /// Interfaces, addresses, ports.
    Network,
    /// Mounts.
    Mount,
    /// System V and POSIX message queues, shared memory.
    Ipc,
    /// Host name.
    Uts,
    /// Users and capabilities.
    User,
    /// View of the cgroup hierarchy.
    Cgroup,
    /// Boot and monotonic clocks.
    Time,
}

impl NamespaceKind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::User, Self::Pid, Self::Network, Self::Mount, Self::Ipc, Self::Uts, Self::Cgroup, Self::Time];

    /// The flag of `clone3(2)` and `setns(2)`.
    pub fn flag(self) -> u64 {
        match self {
            Self::Pid => 0x2000_0000,
            Self::Network => 0x4000_0000,
            Self::Mount => 0x0002_0000,
            Self::Ipc => 0x0800_0000,
            Self::Uts => 0x0400_0000,
            Self::User => 0x1000_0000,
            Self::Cgroup => 0x0200_0000,
            Self::Time => 0x0000_0080,
        }
    }

    /// The name below `/proc/<pid>/ns`.
    pub fn file(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Network => "net",
            Self::Mount => "mnt",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A range of ids of a user namespace, or of an idmapped mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LinuxDevice {
    /// Where inside.
    pub path: PathBuf,
    /// `c`, `u`, `b` or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permissions, for example `0o666`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Owning group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// The specification's letters for kinds of devices.
pub mod device_kind {
    /// Character device.
    pub const CHAR: &str = "c";
    /// Block device.
    pub const BLOCK: &str = "b";
    /// Pipe.
    pub const FIFO: &str = "p";
    /// Every kind, in cgroup rules.
    pub const ALL: &str = "a";
}

/// Intel resource director settings; kept so that they can be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IntelRdt {
    /// Class of service.
    #[serde(rename = "closID", skip_serializing_if = "Option::is_none")]
    pub clos_id: Option<String>,
}

/// Execution domain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Personality {
    /// `LINUX` or `LINUX32`.
    pub domain: String,
    /// None are defined.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "null_default")]
    pub flags: Vec<String>,
}

/// Offset of a clock in a new time namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeOffset {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds.
    pub nanosecs: u32,
}

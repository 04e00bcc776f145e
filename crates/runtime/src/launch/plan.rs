//! Everything the child will do, decided before it exists.
//!
//! The child only walks through a plan with system calls: it decides nothing that could have been
//! decided here, and what it needs (strings, descriptors, buffers) is already made.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit};

use crate::capability::CapabilitySets;
use crate::seccomp::Filter;
use crate::spec::{ConsoleSize, NamespaceKind};
use crate::sys::exec::StringVector;
use crate::sys::mount::MountAttr;
use crate::sys::schedule::Schedule;

/// A container's first process, from clone to exec.
#[derive(Debug)]
pub(super) struct ContainerPlan {
    pub(super) namespaces: NamespacePlan,
    pub(super) root: RootPlan,
    pub(super) mounts: Vec<MountPlan>,
    pub(super) devices: Vec<DevicePlan>,
    /// Symbolic links below `/dev`.
    pub(super) links: Vec<LinkPlan>,
    pub(super) masked: Vec<PathPlan>,
    pub(super) readonly: Vec<PathPlan>,
    /// The host's `/dev/null`, verified; mounted over masked files.
    pub(super) null: OwnedFd,
    /// Path below `/proc` and value.
    pub(super) sysctls: Vec<(CString, String)>,
    /// Whether the runtime has hooks to run before the pivot.
    pub(super) pause_for_hooks: bool,
    pub(super) create_container: Vec<HookPlan>,
    pub(super) start_container: Vec<HookPlan>,
    pub(super) process: ProcessPlan,
}

/// Which namespaces are new, and which are joined.
#[derive(Debug, Default)]
pub(super) struct NamespacePlan {
    /// Flags of those made by the clone.
    pub(super) new: u64,
    /// Those joined before: descriptor and flag.
    pub(super) joins: Vec<(OwnedFd, u64)>,
    /// Whether a new view of the cgroups is made, once the process is in its own.
    pub(super) new_cgroup: bool,
    /// Whether the process begins in a user namespace, new or joined, and must become its root.
    pub(super) user: bool,
    /// Text for `timens_offsets` of a new time namespace.
    pub(super) time_offsets: Option<String>,
    /// Whether the loopback interface must be set up.
    pub(super) loopback: bool,
    pub(super) hostname: Option<String>,
    pub(super) domainname: Option<String>,
}

/// The root file system.
#[derive(Debug)]
pub(super) struct RootPlan {
    /// Its mount, attached nowhere yet.
    pub(super) mount: OwnedFd,
    /// A directory on the host that it is attached to, in the container's mount namespace only.
    pub(super) attach: CString,
    /// How mounts of the host are shared before the pivot: `MS_SLAVE` or `MS_PRIVATE`, recursive.
    pub(super) outer_propagation: u64,
    /// How the container's root is shared afterwards.
    pub(super) inner_propagation: Option<u64>,
    pub(super) readonly: bool,
    /// Whether the old root is left by `pivot_root`; else by moving the new one over it.
    pub(super) pivot: bool,
}

/// One mount.
#[derive(Debug)]
pub(super) struct MountPlan {
    pub(super) source: MountSource,
    pub(super) target: PathPlan,
    /// Whether the target is a directory (else a file), should it have to be made.
    pub(super) directory: bool,
    /// Whether no component of the target may be a symbolic link.
    pub(super) no_symlinks: bool,
    /// Whether the target may lie on procfs.
    pub(super) on_proc: bool,
    /// Set after mounting: propagation and recursion.
    pub(super) propagation: Option<(u64, bool)>,
    /// Made read-only when all is filled.
    pub(super) seal: bool,
    /// Filled with what was at the target before.
    pub(super) copy_up: bool,
    /// Symbolic links made in it.
    pub(super) links: Vec<LinkPlan>,
}

/// What is mounted.
#[derive(Debug)]
pub(super) enum MountSource {
    /// A part of the host's tree, cloned and given its attributes by the parent.
    Tree(OwnedFd),
    /// A new instance of a file system, made in the container's namespaces.
    Filesystem {
        kind: CString,
        /// Parameters with or without value.
        options: Vec<(CString, Option<CString>)>,
        attributes: u64,
    },
}

/// A path below the container's root.
#[derive(Clone, Debug)]
pub(super) struct PathPlan {
    /// Without leading slash; `.` is the root itself.
    pub(super) path: CString,
    /// As people write it, for errors.
    pub(super) text: String,
    /// Whether it lies below `/proc` and so must turn out to be on procfs.
    pub(super) must_be_proc: bool,
}

/// A symbolic link: content and name.
pub(super) type LinkPlan = (CString, CString);

/// A device node.
#[derive(Debug)]
pub(super) struct DevicePlan {
    pub(super) parent: PathPlan,
    pub(super) name: CString,
    pub(super) text: String,
    /// Type and permissions.
    pub(super) mode: u32,
    pub(super) device: u64,
    pub(super) owner: (u32, u32),
    /// The host's node, where the container may not make its own.
    pub(super) bind: Option<OwnedFd>,
}

/// A hook that runs inside.
#[derive(Debug)]
pub(super) struct HookPlan {
    pub(super) path: CString,
    pub(super) text: String,
    pub(super) argv: StringVector,
    pub(super) envp: StringVector,
    /// Milliseconds.
    pub(super) timeout: Option<i32>,
}

/// What is run, as whom.
#[derive(Debug)]
pub(super) struct ProcessPlan {
    pub(super) argv: StringVector,
    pub(super) envp: StringVector,
    /// Where the program may be, in order.
    pub(super) candidates: Vec<CString>,
    /// Which of them it is, found by the child.
    pub(super) program: usize,
    /// Begins as `HOME=`, with room for the rest, if the environment has no home.
    pub(super) home: Option<Vec<u8>>,
    pub(super) cwd: CString,
    /// Whether the child could enter the working directory as root.
    pub(super) in_cwd: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<rustix::process::Gid>,
    pub(super) umask: u32,
    pub(super) capabilities: CapabilitySets,
    pub(super) no_new_privileges: bool,
    /// Soft and hard limits, lowered at the very end: what comes before may need more.
    pub(super) limits: Vec<Limit>,
    /// Those of them that a stage lowers, before the filter is in force.
    pub(super) early_limits: Vec<Limit>,
    pub(super) seccomp: Option<Filter>,
    /// Whether a stage puts the filter in force, before the process proper is cloned.
    pub(super) filter_early: bool,
    pub(super) personality: Option<u64>,
    pub(super) schedule: Option<Schedule>,
    pub(super) io_priority: Option<(u16, u16)>,
    /// What a security module is asked for.
    pub(super) label: Option<LabelPlan>,
    /// Whether a session keyring is made, and how it is called.
    pub(super) keyring: Option<Option<CString>>,
    pub(super) stdio: StdioPlan,
    /// Descriptors from 3 on that the program gets.
    pub(super) preserve_fds: u32,
    /// Whether the kernel kills the process when its parent dies.
    pub(super) die_with_parent: bool,
    /// Blocks until a byte comes; without it the parent releases.
    pub(super) release: Option<OwnedFd>,
    /// Whether to wait for a release at all.
    pub(super) wait: bool,
    /// Where the container's state is put when the parent sends it.
    pub(super) state: Vec<u8>,
    /// Whether a process that is cloned by a stage waits until its parent knows it.
    pub(super) awaits: bool,
    /// Descriptors that are open until the container's root is entered.
    pub(super) kept_at_birth: Kept,
    /// Descriptors that are open afterwards, until the exec.
    pub(super) kept: Kept,
}

/// What a security module is to put the program under.
#[derive(Debug)]
pub(super) struct LabelPlan {
    /// The file that takes the order, below a procfs.
    pub(super) file: CString,
    /// Where kernels have it that do not know the other.
    pub(super) file_of_old: Option<CString>,
    /// What is written there.
    pub(super) order: Vec<u8>,
    /// As people write it, for errors.
    pub(super) text: String,
}

/// A process that joins a container.
#[derive(Debug)]
pub(super) struct JoinPlan {
    pub(super) process: ProcessPlan,
    /// The container's first process.
    pub(super) target: OwnedFd,
    /// The kinds of its namespaces that are entered.
    pub(super) namespaces: u64,
    /// Whether the user namespace is among them, of which the process must become the root.
    pub(super) user: bool,
}

/// What is known of a process by its parent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Whether it waits until its parent knows it, if a stage has cloned it.
    pub(super) awaits: bool,
    /// Its scheduling policy, which it cannot have before.
    pub(super) schedule: Option<Schedule>,
    /// Whether it hands out a terminal.
    pub(super) terminal: bool,
}

/// A resource, and its soft and hard limit.
pub(super) type Limit = (Resource, Rlimit);

/// Descriptors above the standard streams that a new process does not close, in order.
///
/// What is merely marked to be closed by the exec can be reached until then, as `/proc/self/fd/N`:
/// the program's own path may begin there (CVE-2024-21626).
#[derive(Debug, Default)]
pub(super) struct Kept(Vec<RawFd>);

impl Kept {
    pub(super) fn of(fds: impl IntoIterator<Item = RawFd>) -> Self {
        let mut fds: Vec<_> = fds.into_iter().collect();
        fds.sort_unstable();
        Self(fds)
    }

    pub(super) fn as_slice(&self) -> &[RawFd] {
        &self.0
    }
}

impl NamespacePlan {
    /// The process namespace that is joined: others may live in it.
    pub(super) fn processes(&self) -> Option<&OwnedFd> {
        self.joins.iter().find(|(_, flag)| *flag == NamespaceKind::Pid.flag()).map(|(namespace, _)| namespace)
    }

    /// Whether a user namespace is made.
    pub(super) fn makes_users(&self) -> bool {
        self.new & NamespaceKind::User.flag() != 0
    }
}

impl ContainerPlan {
    /// Everything that is open for the container's first process.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let trees = self.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Tree(tree) => Some(tree),
            MountSource::Filesystem { .. } => None,
        });
        let devices = self.devices.iter().filter_map(|device| device.bind.as_ref());
        let joins = self.namespaces.joins.iter().map(|(namespace, _)| namespace);
        let own = [&self.root.mount, &self.null];
        let all = own.into_iter().chain(trees).chain(devices).chain(joins).map(AsRawFd::as_raw_fd);
        all.chain(self.process.descriptors())
    }
}

impl ProcessPlan {
    /// The right that it takes to put the filter in force and that the program is not to have: without
    /// no_new_privs only an administrator may do that.
    pub(super) fn loads_with(&self) -> u64 {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let sets = self.capabilities;
        let is_needed = self.seccomp.is_some() && !self.no_new_privileges;
        let is_had = sets.effective & sets.permitted & CAP_SYS_ADMIN != 0;
        if is_needed && !is_had { CAP_SYS_ADMIN } else { 0 }
    }

    /// What its parent does once a stage has cloned it.
    pub(super) fn known(&self) -> Known {
        Known {
            awaits: self.awaits,
            schedule: self.schedule,
            terminal: matches!(self.stdio, StdioPlan::Terminal(_)),
        }
    }

    /// Everything that is open for the process, but what is handed on to its program.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let stdio = match &self.stdio {
            StdioPlan::Fds(fds) => fds.as_slice(),
            StdioPlan::Inherit | StdioPlan::Terminal(_) => &[],
        };
        stdio.iter().chain(&self.release).map(AsRawFd::as_raw_fd)
    }
}

/// Standard streams.
#[derive(Debug)]
pub(super) enum StdioPlan {
    /// As they are.
    Inherit,
    /// These.
    Fds([OwnedFd; 3]),
    /// A terminal made inside; its outer side goes to the parent.
    Terminal(Option<ConsoleSize>),
}

impl MountPlan {
    /// Attributes that make a mount read-only.
    pub(super) const SEALED: MountAttr =
        MountAttr { set: crate::sys::mount::attr::RDONLY, clear: 0, propagation: 0, userns_fd: 0 };
}

//! Which namespaces are new, inherited from the shim, or joined.

use std::path::PathBuf;

use runtime::spec::{Namespace, NamespaceKind};

use crate::container::{NamespaceMode, Namespaces};

/// Where the namespaces of a container come from that are not its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joined {
    /// The shim's own IPC namespace is the container's.
    pub(crate) sandbox_ipc: bool,
    /// The shim's own UTS namespace is the container's.
    pub(crate) sandbox_uts: bool,
    /// The process namespace that the sandbox shares.
    pub(crate) sandbox_pid: Option<PathBuf>,
    /// The sandbox is in the host's process namespace.
    pub(crate) host_pid: bool,
    /// The network namespace of another container, where the shim is not in it itself.
    pub(crate) network: Option<PathBuf>,
    /// `/proc/<pid>/ns` of the other containers that `pid`, `ipc`, `uts` and `user` name.
    pub(crate) pid: Option<PathBuf>,
    pub(crate) ipc: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) user: Option<PathBuf>,
    pub(crate) cgroup: Option<PathBuf>,
    /// The directory that is the sandbox's or the other container's `/dev/shm`.
    pub(crate) shared_memory: Option<PathBuf>,
}

pub(super) fn namespaces(modes: &Namespaces, joined: &Joined) -> Vec<Namespace> {
    let mut namespaces = vec![Namespace::new(NamespaceKind::Mount)];
    // What is not named is the shim's own: the sandbox's network always, and the host's where the
    // sandbox shares none.
    let pid = match &modes.pid {
        NamespaceMode::Default if joined.host_pid => None,
        NamespaceMode::Default => Some(joined.sandbox_pid.clone()),
        NamespaceMode::Private | NamespaceMode::Shareable => Some(None),
        NamespaceMode::Host => None,
        NamespaceMode::Container(_) => Some(joined.pid.clone()),
    };
    let shared = |mode: &NamespaceMode, of_sandbox: bool, other: &Option<PathBuf>| match mode {
        NamespaceMode::Default if of_sandbox => None,
        NamespaceMode::Default | NamespaceMode::Private | NamespaceMode::Shareable => Some(None),
        NamespaceMode::Host => None,
        NamespaceMode::Container(_) => Some(other.clone()),
    };
    let ipc = shared(&modes.ipc, joined.sandbox_ipc, &joined.ipc);
    let uts = shared(&modes.uts, joined.sandbox_uts, &joined.uts);
    let cgroup = shared(&modes.cgroup, false, &joined.cgroup);
    let user = match &modes.user {
        NamespaceMode::Container(_) => Some(joined.user.clone()),
        _ => None,
    };
    let network = joined.network.clone().map(Some);
    let kinds = [
        (NamespaceKind::User, user),
        (NamespaceKind::Pid, pid),
        (NamespaceKind::Network, network),
        (NamespaceKind::Ipc, ipc),
        (NamespaceKind::Uts, uts),
        (NamespaceKind::Cgroup, cgroup),
    ];
    namespaces.extend(kinds.into_iter().filter_map(|(kind, path)| path.map(|path| Namespace { kind, path })));
    namespaces
}

/// Whether a container with `namespaces` gets a new one of `kind`.
pub(super) fn makes_new(namespaces: &[Namespace], kind: NamespaceKind) -> bool {
    namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
}

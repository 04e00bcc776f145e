//! Which namespaces are new, inherited from the shim, or joined.

use std::path::PathBuf;

use runtime::held::HeldNamespace;
use runtime::shim::descriptors::Descriptors;
use runtime::spec::{Namespace, NamespaceKind};

use crate::container::{NamespaceMode, Namespaces};

/// Where the namespaces of a container come from that are not its own.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The shim's own IPC namespace is the container's.
    pub(crate) sandbox_ipc: bool,
    /// The shim's own UTS namespace is the container's.
    pub(crate) sandbox_uts: bool,
    /// The process namespace that the sandbox shares.
    pub(crate) sandbox_pid: Option<HeldNamespace>,
    /// The sandbox is in the host's process namespace.
    pub(crate) host_pid: bool,
    /// The network namespace of another container, where the shim is not in it itself.
    pub(crate) network: Option<HeldNamespace>,
    /// Those of the other containers that `pid`, `ipc`, `uts` and `user` name; `user` may be the
    /// sandbox's.
    pub(crate) pid: Option<HeldNamespace>,
    pub(crate) ipc: Option<HeldNamespace>,
    pub(crate) uts: Option<HeldNamespace>,
    pub(crate) user: Option<HeldNamespace>,
    pub(crate) cgroup: Option<HeldNamespace>,
    /// The directory that is the sandbox's or the other container's `/dev/shm`.
    pub(crate) shared_memory: Option<PathBuf>,
}

/// The namespaces that are new or joined; the latter are handed over by `descriptors`.
pub(super) fn namespaces(
    modes: &Namespaces,
    joined: Joined,
    descriptors: &mut Descriptors,
) -> Vec<Namespace> {
    // What is not named is the shim's own: the sandbox's network always, and the host's where the
    // sandbox shares none.
    let pid = match &modes.pid {
        NamespaceMode::Default if joined.host_pid => None,
        NamespaceMode::Default => Some(joined.sandbox_pid),
        NamespaceMode::Private | NamespaceMode::Shareable => Some(None),
        NamespaceMode::Host => None,
        NamespaceMode::Container(_) => Some(joined.pid),
    };
    let shared = |mode: &NamespaceMode, of_sandbox: bool, other: Option<HeldNamespace>| match mode {
        NamespaceMode::Default if of_sandbox => None,
        NamespaceMode::Default | NamespaceMode::Private | NamespaceMode::Shareable => Some(None),
        NamespaceMode::Host => None,
        NamespaceMode::Container(_) => Some(other),
    };
    let user = match &modes.user {
        NamespaceMode::Container(_) => Some(joined.user),
        // The sandbox's, or the host's.
        _ => joined.user.map(Some),
    };
    let kinds = [
        (NamespaceKind::User, user),
        (NamespaceKind::Pid, pid),
        (NamespaceKind::Network, joined.network.map(Some)),
        (NamespaceKind::Ipc, shared(&modes.ipc, joined.sandbox_ipc, joined.ipc)),
        (NamespaceKind::Uts, shared(&modes.uts, joined.sandbox_uts, joined.uts)),
        (NamespaceKind::Cgroup, shared(&modes.cgroup, false, joined.cgroup)),
    ];
    let mut namespaces = vec![Namespace::new(NamespaceKind::Mount)];
    for (kind, namespace) in kinds {
        let Some(namespace) = namespace else { continue };
        let path = namespace.map(|HeldNamespace { path, fd }| {
            descriptors.namespace(kind, fd);
            path
        });
        namespaces.push(Namespace { kind, path });
    }
    namespaces
}

/// Whether a container with `namespaces` gets a new one of `kind`.
pub(super) fn makes_new(namespaces: &[Namespace], kind: NamespaceKind) -> bool {
    namespaces.iter().any(|namespace| namespace.kind == kind && namespace.path.is_none())
}

//! Whose namespaces a container uses.

use std::path::PathBuf;
use std::sync::Arc;

use runtime::held::HeldNamespace;
use runtime::spec::NamespaceKind;

use crate::container::{NamespaceMode, NetworkMode};
use crate::engine::Engine;
use crate::error::{Context, Error, Fact, Result};
use crate::id::ContainerId;
use crate::registry::{AnySandbox, ContainerCell};
use crate::shim::Shim;
use crate::spec::Joined;

impl Engine {
    /// Whose namespaces a container uses besides its own.
    pub(super) async fn joined(&self, cell: &Arc<ContainerCell>) -> Result<Joined> {
        let record = cell.record();
        let modes = &record.spec.namespaces;
        let mut joined = Joined {
            pid: self.namespace_of(&modes.pid, NamespaceKind::Pid).await?,
            ipc: self.namespace_of(&modes.ipc, NamespaceKind::Ipc).await?,
            uts: self.namespace_of(&modes.uts, NamespaceKind::Uts).await?,
            user: self.namespace_of(&modes.user, NamespaceKind::User).await?,
            cgroup: self.namespace_of(&modes.cgroup, NamespaceKind::Cgroup).await?,
            ..Joined::default()
        };
        if let AnySandbox::Shared(shared) = &cell.sandbox {
            let of = &shared.spec;
            joined.sandbox_ipc = !of.host_ipc;
            joined.sandbox_uts = of.network != crate::sandbox::SandboxNetwork::Host;
            joined.host_pid = of.host_pid;
            joined.shared_memory = Some(if of.host_ipc {
                "/dev/shm".into()
            } else {
                self.inner.places.shared_memory(&cell.sandbox.id)
            });
            if of.own_users {
                let users = self.sandbox_shim(cell)?.handle.user_namespace();
                joined.user = Some(users.context(|| "find the sandbox's user namespace".to_owned())?);
            }
            if of.share_pid {
                let shim = self.sandbox_shim(cell)?;
                joined.sandbox_pid = shared_processes(&shim)?;
            }
        }
        match &modes.ipc {
            NamespaceMode::Shareable => {
                joined.shared_memory = Some(self.inner.places.shared_memory(&cell.sandbox.id))
            }
            NamespaceMode::Container(other) => joined.shared_memory = Some(self.memory_of(other)?),
            _ => {}
        }
        Ok(joined)
    }

    /// The directory that is the `/dev/shm` of another container.
    fn memory_of(&self, other: &ContainerId) -> Result<PathBuf> {
        let cell = self.inner.registry.get(other)?;
        if let AnySandbox::Shared(shared) = &cell.sandbox
            && !shared.spec.host_ipc
        {
            return Ok(self.inner.places.shared_memory(&cell.sandbox.id));
        }
        match &cell.record().spec.namespaces.ipc {
            NamespaceMode::Shareable => Ok(self.inner.places.shared_memory(&cell.sandbox.id)),
            NamespaceMode::Host => Ok("/dev/shm".into()),
            NamespaceMode::Container(third) if third != other => self.memory_of(third),
            _ => Err(Fact::MemoryNotShared { container: other.clone() }.into()),
        }
    }

    async fn namespace_of(&self, mode: &NamespaceMode, kind: NamespaceKind) -> Result<Option<HeldNamespace>> {
        let NamespaceMode::Container(other) = mode else { return Ok(None) };
        let other = self.inner.registry.get(other)?;
        let not_running = || {
            Error::from(Fact::NotJoinable { namespace: kind.file().to_owned(), container: other.id.clone() })
        };
        let held = self.running_process(&other).await?.ok_or_else(not_running)?;
        held.namespace(kind).map(Some).map_err(|source| not_running().with_source(source))
    }

    /// Whether a container is in the host's network, directly or by way of another.
    pub(crate) fn is_in_host_network(&self, cell: &ContainerCell) -> bool {
        if let AnySandbox::Shared(shared) = &cell.sandbox {
            return shared.spec.network == crate::sandbox::SandboxNetwork::Host;
        }
        match &cell.record().spec.namespaces.network {
            NetworkMode::Host => true,
            NetworkMode::Container(other) => {
                self.inner.registry.get(other).is_ok_and(|other| self.is_in_host_network(&other))
            }
            _ => false,
        }
    }
}

/// The process namespace that the containers of a sandbox share, if they do.
pub(super) fn shared_processes(shim: &Shim) -> Result<Option<HeldNamespace>> {
    shim.handle.process_namespace().context(|| "find the sandbox's process namespace".to_owned())
}

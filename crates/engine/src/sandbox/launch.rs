//! Bringing a sandbox up: its network and its shim.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use runtime::shim::{LaunchSpec, Network};

use super::wire::Wiring;
use crate::container::NetworkMode;
use crate::engine::Engine;
use crate::error::{Context, Error, Fact, Result};
use crate::id::SandboxId;
use crate::id_blocks::IdBlock;
use crate::network::ports;
use crate::registry::{AnySandbox, ContainerCell};
use crate::shim::Shim;
use crate::work::blocking;

/// What a shim is launched with, besides its network.
#[derive(Default)]
pub(crate) struct Shape {
    pub(crate) ipc: bool,
    pub(crate) hostname: Option<String>,
    pub(crate) pid: bool,
    /// The ids of its users, if it has users of its own.
    pub(crate) users: Option<IdBlock>,
}

impl Engine {
    /// Brings up the sandbox of one container: network, files of `/etc`, shim.
    pub(crate) async fn bring_up(&self, cell: &Arc<ContainerCell>) -> Result<Arc<Shim>> {
        let record = cell.record();
        let shape = Shape { pid: record.spec.init, ..Shape::default() };
        let network = match &record.spec.namespaces.network {
            NetworkMode::Host => {
                self.write_files(cell, &record)?;
                Network::Host
            }
            NetworkMode::Container(other) => Network::Fd(self.network_of(other)?),
            NetworkMode::None => {
                self.write_files(cell, &record)?;
                Network::Fd(self.take_netns(&cell.sandbox.id).await?)
            }
            NetworkMode::Bridge | NetworkMode::Network(_) => {
                let netns = self.take_netns(&cell.sandbox.id).await?;
                let fd = netns.try_clone().context(|| "share a network namespace".to_owned())?;
                let ports = ports::wanted(&record.spec, &record.resolved);
                let wiring = Wiring {
                    networks: record.networks.clone(),
                    name: record.name.clone(),
                    hostname: record.spec.hostname.clone().filter(|name| !name.is_empty()),
                    name_servers: self.name_servers(&record),
                    ports,
                };
                let (wired, shim) = tokio::join!(
                    self.wire(&cell.sandbox, &netns, &wiring),
                    self.launch(&cell.sandbox, Network::Fd(fd), shape)
                );
                // The shim is known to the cell already, so that it is taken down if the wiring failed.
                let (shim, ()) = (shim?, wired?);
                self.write_files(cell, &record)?;
                return Ok(shim);
            }
        };
        self.launch(&cell.sandbox, network, shape).await
    }

    /// The shim of a sandbox that was made as such, which must be ready.
    pub(crate) fn sandbox_shim(&self, cell: &ContainerCell) -> Result<Arc<Shim>> {
        cell.sandbox
            .shim()
            .ok_or_else(|| Error::conflict(format!("sandbox {} is not ready", cell.sandbox.id)))
    }

    /// Starts a sandbox's shim and listens to it.
    pub(crate) async fn launch(
        &self,
        sandbox: &AnySandbox,
        network: Network,
        shape: Shape,
    ) -> Result<Arc<Shim>> {
        let places = &self.inner.places;
        let run = places.sandbox_run(&sandbox.id);
        let spec = LaunchSpec {
            id: sandbox.id.to_string(),
            run_dir: places.run().to_owned(),
            state_dir: places.shim_state(&sandbox.id),
            network,
            ipc: shape.ipc,
            hostname: shape.hostname,
            pid: shape.pid,
            users: shape.users.map(IdBlock::map),
            cgroup: Some(places.shims_group()),
            log: places.shim_log(&sandbox.id),
            program: Some(self.inner.config.binary.clone()),
        };
        let engine = self.clone();
        let (memory, owner) = (places.shared_memory(&sandbox.id), places.owner(&sandbox.id));
        let handle = blocking(move || {
            // What an earlier life of the sandbox left would be taken for this one's.
            crate::sandbox::memory::unmount(&memory)?;
            engine.discard(&run, &engine.inner.places.run_trash())?;
            crate::state::make_directory(&spec.state_dir, 0o700)?;
            // Before the shim is there: whoever finds it must know whose it is.
            std::fs::write(&owner, &engine.inner.id).context(|| format!("write `{}`", owner.display()))?;
            runtime::shim::launch(&spec).map_err(|source| {
                Error::internal(format!("start the shim of sandbox {}", spec.id)).with_source(source)
            })
        })
        .await?;
        let shim = Arc::new(Shim::new(handle, runtime::shim::protocol::VERSION));
        sandbox.live.write().shim = Some(Arc::clone(&shim));
        self.listen(sandbox.clone(), Arc::clone(&shim)).await?;
        Ok(shim)
    }

    /// The network namespace of another container, which must run.
    fn network_of(&self, other: &crate::ContainerId) -> Result<OwnedFd> {
        let other = self.inner.registry.get(other)?;
        let not_running =
            || Error::from(Fact::NotJoinable { namespace: "net".to_owned(), container: other.id.clone() });
        let shim = other.shim().map_err(|_| not_running())?;
        self.netns_of(&other.sandbox.id, &shim).map_err(|source| not_running().with_source(source))
    }

    /// A network namespace with nothing in it but its loopback, pinned for a sandbox.
    pub(crate) async fn take_netns(&self, of: &SandboxId) -> Result<OwnedFd> {
        let taken = self.inner.network.netns_take_pinned(of.as_str()).await;
        taken.map_err(|source| Error::internal("make a network namespace").with_source(source))
    }

    /// Pins a sandbox's own network namespace.
    pub(crate) async fn pin_netns(&self, of: &SandboxId, netns: &OwnedFd) -> Result<()> {
        let pinned = self.inner.network.netns_pin(of.as_str(), netns.as_fd()).await;
        pinned.map_err(|source| Error::internal("keep a network namespace").with_source(source))
    }

    /// The network namespace that a sandbox is in: its own, which is pinned, or the one that its shim was
    /// started in.
    pub(crate) fn netns_of(&self, sandbox: &SandboxId, shim: &Shim) -> std::io::Result<OwnedFd> {
        match self.inner.network.netns_pinned(sandbox.as_str()) {
            Some(pinned) => Ok(pinned),
            None => shim.handle.network_namespace(),
        }
    }
}

//! Making a sandbox.

use std::sync::Arc;

use runtime::shim::Network;

use super::launch::Shape;
use super::wire::Wiring;
use super::{SandboxNetwork, SandboxRecord, SandboxSpec};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::event::EventKind;
use crate::id::SandboxId;
use crate::id_blocks::IdBlock;
use crate::network::ports;
use crate::registry::{AnySandbox, SharedSandbox};
use crate::state::{self, Making, SandboxFile};
use crate::work::blocking;

impl Engine {
    /// Makes a sandbox: its shim runs and its network is up when this returns.
    pub async fn sandbox_create(&self, spec: SandboxSpec) -> Result<SandboxId> {
        let engine = self.clone();
        self.detached(async move {
            let id = SandboxId::random(engine.inner.random.as_ref());
            let cell = SharedSandbox::new(id.clone(), engine.inner.clock.now(), spec);
            if let Err(error) = engine.sandbox_bring_up(&cell).await {
                engine.tear_down(&cell).await;
                // The error that led here is what the caller must see.
                engine.drop_shared_memory(&id);
                engine.remove_group(&cell).await;
                let _ = crate::container::remove_directory(&engine.inner.places.sandbox_run(&id));
                engine.inner.id_blocks.give_back(&id);
                return Err(error);
            }
            engine.inner.registry.sandbox_add(Arc::clone(&cell));
            engine.emit_sandbox("create", &cell);
            Ok(id)
        })
        .await
    }

    async fn sandbox_bring_up(&self, cell: &Arc<SharedSandbox>) -> Result<()> {
        let (sandbox, spec) = (AnySandbox::Shared(Arc::clone(cell)), Arc::clone(&cell.spec));
        let making = Making::begin(&self.inner.places.sandbox(&cell.id), 0o710)?;
        let own = spec.network != SandboxNetwork::Host;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let hostname = if spec.hostname.is_empty() { host } else { spec.hostname.clone() };
        let users = self.take_users(&cell.id, &spec).await?;
        let shape = Shape {
            ipc: !spec.host_ipc,
            hostname: own.then(|| hostname.clone()),
            pid: spec.share_pid,
            users,
        };
        match &spec.network {
            // The network belongs to those who are root in it: it is made with them.
            SandboxNetwork::Networks(networks) if users.is_some() => {
                let shim = self.launch(&sandbox, Network::New, shape).await?;
                let netns = shim.handle.network_namespace();
                let netns = netns.context(|| "open the sandbox's network namespace".to_owned())?;
                self.pin_netns(&cell.id, &netns).await?;
                self.wire(cell, &netns, &wiring(&spec, networks)).await?;
            }
            SandboxNetwork::None if users.is_some() => {
                let shim = self.launch(&sandbox, Network::New, shape).await?;
                let netns = shim.handle.network_namespace();
                let netns = netns.context(|| "open the sandbox's network namespace".to_owned())?;
                self.pin_netns(&cell.id, &netns).await?;
            }
            SandboxNetwork::Host => {
                self.launch(&sandbox, Network::Host, shape).await?;
            }
            SandboxNetwork::None => {
                let netns = self.take_netns(&cell.id).await?;
                self.launch(&sandbox, Network::Fd(netns), shape).await?;
            }
            SandboxNetwork::Networks(networks) => {
                let netns = self.take_netns(&cell.id).await?;
                let fd = netns.try_clone().context(|| "share a network namespace".to_owned())?;
                let wiring = wiring(&spec, networks);
                let (wired, shim) = tokio::join!(
                    self.wire(cell, &netns, &wiring),
                    self.launch(&sandbox, Network::Fd(fd), shape)
                );
                shim?;
                wired?;
            }
        }
        self.sandbox_files(cell, &hostname, making.directory())?;
        let (engine, of, limited) = (self.clone(), cell.id.clone(), Arc::clone(&spec));
        blocking(move || engine.limit_sandbox(&of, &limited)).await?;
        self.make_shared_memory(&cell.id, runtime::defaults::SHM_SIZE).await?;
        let record = SandboxRecord {
            id: cell.id.clone(),
            created: cell.created,
            spec: SandboxSpec::clone(&spec),
            first_id: users.map(|block| block.first),
        };
        blocking(move || making.place(state::STATE_FILE, &SandboxFile::from(record))).await
    }

    /// Reserves ids of the host for a sandbox with users of its own.
    async fn take_users(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<Option<IdBlock>> {
        if !spec.own_users {
            return Ok(None);
        }
        if spec.network == SandboxNetwork::Host || spec.host_pid || spec.host_ipc {
            return Err(Error::invalid(
                "a sandbox with users of its own cannot have the host's network, processes or IPC",
            ));
        }
        let (engine, id) = (self.clone(), id.clone());
        blocking(move || engine.inner.id_blocks.take(&id)).await.map(Some)
    }

    pub(super) fn emit_sandbox(&self, action: &'static str, cell: &SharedSandbox) {
        let mut attributes = cell.spec.labels.clone();
        attributes.insert("name".to_owned(), cell.spec.name.clone());
        self.inner.events.emit(EventKind::Sandbox, action, cell.id.as_str(), attributes);
    }
}

fn wiring(spec: &SandboxSpec, networks: &[(String, crate::network::EndpointSpec)]) -> Wiring {
    Wiring {
        networks: networks.to_vec(),
        name: spec.name.clone(),
        hostname: None,
        name_servers: Vec::new(),
        ports: ports::bindings(&spec.ports),
    }
}

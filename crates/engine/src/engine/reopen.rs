//! Opening an engine on what an earlier one left: its containers may have gone on without it.

mod clear;
mod records;

use std::collections::BTreeMap;
use std::sync::Arc;

use runtime::shim::protocol::Sandbox;
use runtime::spec::Status as ShimStatus;

use crate::container::Status;
use crate::container::life::Input;
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::id::{ContainerId, SandboxId};
use crate::registry::{ContainerCell, SandboxCell};
use crate::sandbox::launch::remember;
use crate::shim::Shim;

impl Engine {
    /// Finds everything again. What cannot be taken up hides nothing else, and is left alone.
    pub(super) async fn reopen(&self) -> Result<()> {
        self.finish_making();
        self.empty_trash();
        self.read_sandboxes();
        self.read_containers();
        let shims = self.find_shims().await?;
        self.clear_strangers(&shims).await;
        for cell in self.inner.registry.sandboxes() {
            match shims.get(&cell.id) {
                Some(found) => self.readmit_shim(&cell, found).await,
                None => self.clear_endpoints(&cell.id).await,
            }
        }
        self.readmit_snapshots();
        for cell in self.inner.registry.all() {
            let found = shims.get(&cell.sandbox.id);
            if cell.sandbox.spec.is_none()
                && let Some(found) = found
            {
                self.readmit_shim(&cell.sandbox, found).await;
            }
            self.catch_up(&cell, found.map(|(_, state)| state)).await;
            if cell.record().spec.transient {
                self.end_transient(cell);
            }
        }
        self.clear_run();
        Ok(())
    }

    /// The shims that answer, and what they hold. The sockets of those that do not are removed.
    async fn find_shims(&self) -> Result<BTreeMap<SandboxId, (Arc<Shim>, Sandbox)>> {
        let mut found = BTreeMap::new();
        let directory = self.inner.layout.shims();
        let tried = || format!("read `{}`", directory.display());
        for entry in std::fs::read_dir(&directory).context(tried)? {
            let path = entry.context(tried)?.path();
            let id =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| SandboxId::parse(stem).ok());
            let (Some(id), Some("sock")) = (id, path.extension().and_then(|extension| extension.to_str()))
            else {
                continue;
            };
            match Shim::find(&path).await {
                Ok((shim, state)) => {
                    found.insert(id, (Arc::new(shim), state));
                }
                Err(error) => {
                    tracing::debug!(sandbox = %id, error = %base::error::chain(&error), "a shim does not answer");
                    // It is dead, or it would answer.
                    let _ = std::fs::remove_file(&path);
                }
            }
        }
        Ok(found)
    }

    /// Attaches to a shim that went on without the engine.
    async fn readmit_shim(&self, cell: &Arc<SandboxCell>, (shim, _): &(Arc<Shim>, Sandbox)) {
        {
            let mut live = cell.live.write();
            live.shim = Some(Arc::clone(shim));
            let views = self.inner.network.network_list();
            for endpoint in self.inner.network.endpoint_list() {
                if endpoint.owner != cell.id.as_str() {
                    continue;
                }
                if let Some(network) = views.iter().find(|view| view.id == endpoint.network) {
                    let asked = self.asked_of(cell, &network.name);
                    remember(&mut live, network, asked, &endpoint);
                }
            }
        }
        if let Err(error) = self.listen(Arc::clone(cell), Arc::clone(shim)).await {
            tracing::warn!(sandbox = %cell.id, error = %base::error::chain(&error), "listen to a shim");
        }
    }

    fn asked_of(&self, cell: &SandboxCell, network: &str) -> crate::network::EndpointSpec {
        let of = |networks: &[(String, crate::network::EndpointSpec)]| {
            networks
                .iter()
                .find(|(name, _)| name == network)
                .map(|(_, spec)| spec.clone())
                .unwrap_or_default()
        };
        match &cell.spec {
            Some(spec) => match &spec.network {
                crate::sandbox::SandboxNetwork::Networks(networks) => of(networks),
                _ => Default::default(),
            },
            None => {
                let container = ContainerId::parse(cell.id.as_str())
                    .ok()
                    .and_then(|id| self.inner.registry.get(&id).ok());
                container.map(|container| of(&container.record().networks)).unwrap_or_default()
            }
        }
    }

    /// Brings what is known of a container up to what happened while nobody looked.
    async fn catch_up(&self, cell: &Arc<ContainerCell>, shim: Option<&Sandbox>) {
        let held = shim.and_then(|shim| shim.containers.iter().find(|held| held.id == cell.id.as_str()));
        if cell.status().is_active() {
            match held {
                Some(held) => match (&held.exit, held.status) {
                    (Some(exit), _) => self.on_exit(cell, exit, None).await,
                    (None, status) => {
                        let frozen = status == ShimStatus::Paused;
                        let record = cell.change(|record| {
                            record.life.status = if frozen { Status::Paused } else { Status::Running };
                            record.life.pid = Some(held.pid);
                        });
                        // What was written down of it may have been lost.
                        if let Err(error) = self.save_life(&record) {
                            tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "write down that a container runs");
                        }
                        cell.tell(|_| {});
                        self.watch_health(cell);
                    }
                },
                None => {
                    let (exit, is_guess) = self.lost_exit(cell);
                    let error = "the container was lost while the engine was away".to_owned();
                    self.on_exit(cell, &exit, is_guess.then_some(error)).await;
                }
            }
            return;
        }
        let _operation = cell.operation.lock().await;
        // A start that was interrupted left a shim, or a container in its sandbox's.
        if held.is_some() || (cell.sandbox.spec.is_none() && shim.is_some()) {
            self.take_down(cell).await;
        } else if cell.sandbox.spec.is_none() {
            self.clear_endpoints(&cell.sandbox.id).await;
        }
        let effects = self.step_of_fact(cell, &Input::Reopened);
        cell.tell(|_| {});
        self.perform(cell, effects);
    }

    async fn clear_endpoints(&self, id: &SandboxId) {
        let has = self.inner.network.endpoint_list().iter().any(|endpoint| endpoint.owner == id.as_str());
        if has && let Err(error) = self.inner.network.endpoint_detach_all(id.as_str()).await {
            tracing::warn!(sandbox = %id, error = %base::error::chain(&error), "give a network address back");
        }
    }
}

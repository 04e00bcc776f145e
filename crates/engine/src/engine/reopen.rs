//! Opening an engine on what an earlier one left: its containers may have gone on without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime::shim::protocol::Sandbox;
use runtime::spec::Status as ShimStatus;

use crate::container::life::Input;
use crate::container::{Status, remove_directory};
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::id::{ContainerId, SandboxId};
use crate::registry::{ContainerCell, SandboxCell};
use crate::sandbox::launch::remember;
use crate::shim::Shim;
use crate::state::{self, ContainerRecord, SandboxRecord};

impl Engine {
    /// Finds everything again. A sandbox or container that cannot be read hides no other.
    pub(super) async fn reopen(&self) -> Result<()> {
        self.clear_half_made()?;
        for (_, record) in read_all::<SandboxRecord>(&self.inner.layout.sandboxes())? {
            let cell = SandboxCell::made_as_such(record.id.clone(), record.created, record.spec);
            self.inner.registry.sandbox_add(cell);
        }
        for (path, record) in read_all::<ContainerRecord>(&self.inner.layout.containers())? {
            if let Err(error) = self.readmit(record) {
                tracing::error!(path = %path.display(), error = %base::error::chain(&error), "a container is left out");
            }
        }
        let shims = self.find_shims().await?;
        self.clear_strangers(&shims).await;
        for cell in self.inner.registry.sandboxes() {
            match shims.get(&cell.id) {
                Some(found) => self.readmit_shim(&cell, found).await,
                None => self.clear_endpoints(&cell.id).await,
            }
        }
        for cell in self.inner.registry.all() {
            let found = shims.get(&cell.sandbox.id);
            if cell.sandbox.spec.is_none()
                && let Some(found) = found
            {
                self.readmit_shim(&cell.sandbox, found).await;
            }
            self.catch_up(&cell, found.map(|(_, state)| state)).await;
        }
        self.clear_snapshots();
        self.clear_run()
    }

    /// Adds a container that an earlier engine made.
    fn readmit(&self, record: ContainerRecord) -> Result<()> {
        let sandbox = match &record.spec.sandbox {
            Some(sandbox) => self.inner.registry.sandbox(sandbox)?,
            None => SandboxCell::of_container(&record.id, record.created),
        };
        self.inner.registry.add(Arc::new(ContainerCell::new(record, sandbox)))
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

    /// Shims that belong to nothing: a container was being made or removed when the engine was killed.
    async fn clear_strangers(&self, shims: &BTreeMap<SandboxId, (Arc<Shim>, Sandbox)>) {
        let mut known: std::collections::BTreeSet<SandboxId> =
            self.inner.registry.all().iter().map(|cell| cell.sandbox.id.clone()).collect();
        known.extend(self.inner.registry.sandboxes().iter().map(|cell| cell.id.clone()));
        for (id, (shim, _)) in shims.iter().filter(|(id, _)| !known.contains(*id)) {
            tracing::info!(sandbox = %id, "end a shim that belongs to no container");
            if let Err(error) = shim.shut_down().await {
                tracing::warn!(sandbox = %id, error = %base::error::chain(&error), "end a shim");
            }
        }
        for endpoint in self.inner.network.endpoint_list() {
            let is_known = SandboxId::parse(&endpoint.owner).is_ok_and(|id| known.contains(&id));
            if !is_known && let Err(error) = self.inner.network.endpoint_detach_all(&endpoint.owner).await {
                tracing::warn!(owner = endpoint.owner, error = %base::error::chain(&error), "give a network address back");
            }
        }
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
                        cell.change(|record| {
                            record.life.status = if frozen { Status::Paused } else { Status::Running };
                            record.life.pid = Some(held.pid);
                        });
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

    /// Directories without a state file are of containers and sandboxes that were being made or removed.
    fn clear_half_made(&self) -> Result<()> {
        for trash in [self.inner.layout.trash(), self.inner.layout.run_trash()] {
            for path in entries(&trash)? {
                remove_directory(&path)?;
            }
        }
        for directory in [self.inner.layout.containers(), self.inner.layout.sandboxes()] {
            for path in entries(&directory)? {
                if !path.join(state::STATE_FILE).exists() {
                    tracing::info!(path = %path.display(), "clear away what was half made");
                    remove_directory(&path)?;
                }
            }
        }
        Ok(())
    }

    /// What is below the run directory of containers and sandboxes that are gone.
    fn clear_run(&self) -> Result<()> {
        let registry = &self.inner.registry;
        let is_known = |path: &Path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            ContainerId::parse(name).is_ok_and(|id| registry.get(&id).is_ok())
                || SandboxId::parse(name).is_ok_and(|id| registry.sandbox(&id).is_ok())
        };
        for directory in [self.inner.layout.run().join("sandboxes"), self.inner.layout.run().join("bundles")]
        {
            for path in entries(&directory)?.iter().filter(|path| !is_known(path)) {
                crate::sandbox::memory::unmount(&path.join("shm"))?;
                remove_directory(path)?;
            }
        }
        Ok(())
    }

    /// Snapshots whose containers are gone.
    fn clear_snapshots(&self) {
        for name in self.inner.images.snapshot_list() {
            let Ok(id) = ContainerId::parse(&name) else { continue };
            // One whose container could not be read stays: somebody may repair it.
            if self.inner.registry.get(&id).is_ok() || self.inner.layout.container(&id).exists() {
                continue;
            }
            if let Err(error) = self.inner.images.snapshot_remove(&name) {
                tracing::warn!(snapshot = name, error = %base::error::chain(&error), "remove a container's files");
            }
        }
    }
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let tried = || format!("read `{}`", directory.display());
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).context(tried)? {
        paths.push(entry.context(tried)?.path());
    }
    paths.sort();
    Ok(paths)
}

/// All records below `directory`; one that cannot be read is told and left out.
fn read_all<T: serde::de::DeserializeOwned>(directory: &Path) -> Result<Vec<(PathBuf, T)>> {
    let mut records = Vec::new();
    for path in entries(directory)? {
        match state::load(&path.join(state::STATE_FILE)) {
            Ok(record) => records.push((path, record)),
            Err(error) => tracing::error!(error = %base::error::chain(&error), "a record is left out"),
        }
    }
    Ok(records)
}

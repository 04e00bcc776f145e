//! Telling all about one container.

use std::path::PathBuf;
use std::sync::Arc;

use super::view::{Container, ContainerFiles, ContainerSize, ContainerState, PublishedPort};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::network::Endpoint;
use crate::registry::ContainerCell;
use crate::work::blocking;

impl Engine {
    /// Everything that is known of a container.
    pub fn container_inspect(&self, id: &ContainerId) -> Result<Arc<Container>> {
        self.inner.registry.get(id).map(|cell| Arc::new(self.view(&cell)))
    }

    /// How much disk a container takes: walks its files, so it is slow.
    pub async fn container_size(&self, id: &ContainerId) -> Result<ContainerSize> {
        let record = self.inner.registry.get(id)?.record();
        let engine = self.clone();
        blocking(move || {
            let snapshot = engine.inner.images.snapshot_size(record.id.as_str());
            let writable = snapshot
                .map_err(|source| Error::internal("measure a container's files").with_source(source))?;
            let of_image =
                engine.inner.images.image_get(&record.resolved.image_id).map_or(0, |image| image.size);
            Ok(ContainerSize { writable, root: writable + of_image })
        })
        .await
    }

    /// The directory of what a container has written into its own file system.
    pub fn container_layer(&self, id: &ContainerId) -> Result<PathBuf> {
        let record = self.inner.registry.get(id)?.record();
        let snapshot = self.inner.images.snapshot_get(record.id.as_str());
        let snapshot =
            snapshot.map_err(|source| Error::internal("find a container's files").with_source(source))?;
        Ok(snapshot.upper)
    }

    /// Waits until containers and layers that were removed until now take no room any more.
    pub async fn removals_done(&self) {
        let (done, is_done) = tokio::sync::oneshot::channel::<()>();
        self.inner.images.when_removed(move || drop(done));
        let _ = is_done.await;
    }

    /// What is told of a container.
    pub(crate) fn view(&self, cell: &ContainerCell) -> Container {
        let record = cell.record();
        let live = cell.sandbox.live.read().clone();
        let life = &record.life;
        let mut networks = live.endpoints;
        networks.extend(self.place_without_bridge(cell));
        for (name, spec) in &record.networks {
            if networks.contains_key(name) {
                continue;
            }
            // An earlier program kept what the network was called by whoever named it.
            networks.entry(self.network_name(name)).or_insert_with(|| Endpoint {
                spec: spec.clone(),
                mac_address: spec.mac_address.clone().unwrap_or_default(),
                ..Endpoint::default()
            });
        }
        let mut ports = live.ports;
        for port in &record.resolved.exposed_ports {
            if !ports.iter().any(|published| published.container == *port) {
                ports.push(PublishedPort { container: *port, host: None });
            }
        }
        let files = self.files_directory(cell).unwrap_or_else(|_| self.inner.places.container(&cell.id));
        let mut execs: Vec<_> = {
            let known = self.inner.execs.read();
            known
                .values()
                .filter(|exec| exec.container.id == cell.id && !exec.quiet)
                .map(|exec| exec.id.clone())
                .collect()
        };
        execs.sort();
        Container {
            id: cell.id.clone(),
            name: record.name.clone(),
            sandbox: cell.sandbox.id.clone(),
            created: record.created,
            spec: Arc::new(record.spec.clone()),
            resolved: Arc::new(record.resolved.clone()),
            state: ContainerState {
                status: life.status,
                pid: life.pid,
                exit_code: life.exit_code,
                error: life.error.clone(),
                fact: life.fact.clone(),
                oom_killed: life.oom_killed,
                started_at: life.started_at,
                finished_at: life.finished_at,
                health: record.health.clone(),
            },
            mounts: record.mounts.clone(),
            networks,
            links: self.links_of(&record),
            linked_as: self.links_to(&cell.id),
            ports,
            execs,
            restart_count: life.restart_count,
            files: ContainerFiles {
                log: record.resolved.log.is_kept().then(|| self.inner.places.log(&record)),
                hosts: files.join("hosts"),
                hostname: files.join("hostname"),
                resolv_conf: files.join("resolv.conf"),
            },
            layers: std::iter::once(&record.layers.upper).chain(&record.layers.lower).cloned().collect(),
        }
    }
}

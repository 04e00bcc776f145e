//! Removing a container.

use std::path::Path;
use std::sync::Arc;

use super::life::Input;
use super::view::Status;
use crate::engine::{Engine, blocking};
use crate::error::{Context, Error, Kind, Result};
use crate::id::{ContainerId, SandboxId};
use crate::registry::{ContainerCell, no_such_container};
use crate::state::ContainerRecord;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Kills it first if it runs.
    pub force: bool,
    /// Removes its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container, its files and, where it was the only one of a sandbox of its own, that.
    pub async fn container_remove(&self, id: &ContainerId, options: RemoveOptions) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let engine = self.clone();
        self.detached(async move {
            loop {
                let operation = cell.operation.lock().await;
                match cell.status() {
                    Status::Running | Status::Paused | Status::Restarting if !options.force => {
                        let name = &cell.record().name;
                        let status = cell.status().as_str();
                        return Err(Error::conflict(format!(
                            "cannot remove container \"/{name}\": container is {status}: stop the container before removing or force remove"
                        )));
                    }
                    Status::Running | Status::Paused | Status::Restarting => {
                        drop(operation);
                        match engine.halt(&cell, crate::signal::KILL, Some(std::time::Duration::ZERO)).await {
                            Err(error) if error.kind() != Kind::NotModified => return Err(error),
                            _ => {}
                        }
                    }
                    Status::Removing if cell.pulse().borrow().removed => {
                        return Err(no_such_container(cell.id.as_str()));
                    }
                    _ => return engine.remove_locked(&cell, options.volumes).await,
                }
            }
        })
        .await
    }

    /// Removes a container that does not run, and whose operation lock is held.
    pub(crate) async fn remove_locked(&self, cell: &Arc<ContainerCell>, volumes: bool) -> Result<()> {
        self.step(cell, &Input::RemovalBegun)?;
        // Usually nothing is left to take down; after a failure there may be.
        if cell.sandbox.spec.is_some() || cell.sandbox.shim().is_some() {
            self.take_down(cell).await;
        }
        let engine = self.clone();
        let (id, record) = (cell.id.clone(), cell.record());
        let removed = blocking(move || engine.remove_files(&id, &record, volumes)).await;
        if let Err(error) = removed {
            self.step(cell, &Input::RemovalFailed { message: error.full_message() })?;
            return Err(error);
        }
        self.emit(cell, "destroy", &[]);
        self.inner.registry.forget(&cell.id);
        cell.tell(|pulse| pulse.removed = true);
        Ok(())
    }

    fn remove_files(&self, id: &ContainerId, record: &ContainerRecord, volumes: bool) -> Result<()> {
        let inner = &self.inner;
        match inner.images.snapshot_remove(id.as_str()) {
            Ok(()) | Err(image::SnapshotError::NotFound(_)) => {}
            Err(source) => {
                return Err(
                    Error::internal(format!("unable to remove filesystem for {id}")).with_source(source)
                );
            }
        }
        for directory in [inner.layout.bundle(id), inner.layout.sandbox_run(&SandboxId::of_container(id))] {
            remove_directory(&directory)?;
        }
        if volumes {
            for name in &record.anonymous_volumes {
                if let Err(error) = self.volume_delete(name) {
                    tracing::warn!(volume = name, error = %base::error::chain(&error), "remove an anonymous volume");
                }
            }
        }
        // Last: what has a state file is a container, what has none is rubbish.
        remove_directory(&inner.layout.container(id))
    }
}

pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(|| format!("remove `{}`", path.display())),
    }
}

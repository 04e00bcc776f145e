//! Removing a container.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::life::Input;
use super::record::ContainerRecord;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Context, Error, Kind, Operation, Result};
use crate::id::{ContainerId, SandboxId};
use crate::registry::{ContainerCell, no_such_container};
use crate::work::blocking;

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
                let operation = match options.force {
                    true => {
                        cell.give_up_commit();
                        cell.lock_to_end().await.0
                    }
                    false => cell.operation.lock().await,
                };
                match cell.status() {
                    Status::Running | Status::Paused | Status::Restarting if !options.force => {
                        return Err(cell.refuse(Operation::Remove));
                    }
                    Status::Running | Status::Paused | Status::Restarting => {
                        drop(operation);
                        match engine
                            .halt(&cell, crate::signal::KILL, Some(std::time::Duration::ZERO), false)
                            .await
                        {
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
        // In memory only: what is on disk is settled by the first thing that `remove_files` does.
        cell.change(|record| record.life = record.step(&Input::RemovalBegun).0);
        // Usually nothing is left to take down; after a failure there may be.
        if !cell.sandbox.is_of_one() || cell.sandbox.shim().is_some() {
            self.take_down(cell).await;
        }
        let engine = self.clone();
        let (id, record) = (cell.id.clone(), cell.record());
        let removed = blocking(move || engine.remove_files(&id, &record, volumes)).await;
        if let Err(error) = removed {
            self.step_of_fact(cell, &Input::RemovalFailed { message: error.full_message() });
            return Err(error);
        }
        self.emit(cell, "destroy", &[]);
        self.inner.registry.forget(&cell.id);
        // Who attached to it, or waits, need wait no longer.
        cell.waiting.lock().clear();
        cell.tell(|pulse| pulse.removed = true);
        Ok(())
    }

    fn remove_files(&self, id: &ContainerId, record: &ContainerRecord, volumes: bool) -> Result<()> {
        let inner = &self.inner;
        // First: the container goes with its record, and what else there is of it is then nobody's, which
        // the next opening clears away. One that removes itself, or was made for work that is done, goes once
        // more if a power cut brings it back.
        let directory = inner.places.container(id);
        let thrown = match record.spec.auto_remove || record.is_transient() {
            true => self.set_aside(&directory, &inner.places.trash())?,
            false => self.set_aside_durably(&directory, &inner.places.trash())?,
        };
        match inner.images.snapshot_remove(id.as_str()) {
            Ok(()) | Err(image::SnapshotError::NotFound(_)) => {}
            Err(source) => {
                if let Some(place) = &thrown {
                    put_back(place, &directory);
                }
                return Err(
                    Error::internal(format!("unable to remove filesystem for {id}")).with_source(source)
                );
            }
        }
        if let Some(project) = record.project {
            self.release_storage(project);
        }
        if let Some(place) = thrown {
            self.sweep(place);
        }
        if record.mounts.iter().any(|point| point.image.is_some()) {
            super::images::unmount(self, record);
            super::images::let_go(self, id);
        }
        self.discard(&inner.places.bundle(id), &inner.places.run_trash())?;
        let sandbox = SandboxId::of_container(id);
        self.drop_shared_memory(&sandbox);
        self.discard(&inner.places.sandbox_run(&sandbox), &inner.places.run_trash())?;
        inner.volumes.forget_user(id);
        if volumes {
            let names: Vec<&str> = record.anonymous_volumes.iter().map(String::as_str).collect();
            for (name, deleted) in names.iter().zip(self.volumes_delete(&names)) {
                match deleted {
                    // Another container has it too (`--volumes-from`), and removes it when it goes.
                    Err(error) if error.kind() == Kind::Conflict => {
                        tracing::debug!(volume = name, "an anonymous volume is kept for another container");
                    }
                    Err(error) if error.kind() != Kind::NotFound => {
                        tracing::warn!(volume = name, error = %base::error::chain(&error), "remove an anonymous volume");
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Moves a directory out of the way and removes it when there is time.
    pub(crate) fn discard(&self, path: &Path, trash: &Path) -> Result<()> {
        if let Some(place) = self.set_aside(path, trash)? {
            self.sweep(place);
        }
        Ok(())
    }

    /// Moves a directory out of the way; gives where it is, if there was one.
    pub(crate) fn set_aside(&self, path: &Path, trash: &Path) -> Result<Option<PathBuf>> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let place = trash.join(format!("{name}.{:016x}", self.inner.random.next_u64()));
        match std::fs::rename(path, &place) {
            Ok(()) => Ok(Some(place)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("remove `{}`", path.display())),
        }
    }

    /// As [`Engine::set_aside`]; on disk when this returns, so that it does not come back after a power
    /// cut. Blocks.
    pub(crate) fn set_aside_durably(&self, path: &Path, trash: &Path) -> Result<Option<PathBuf>> {
        let Some(place) = self.set_aside(path, trash)? else { return Ok(None) };
        if let Err(error) = self.inner.flushes.flush(path.parent().unwrap_or(path)) {
            put_back(&place, path);
            return Err(error).context(|| format!("write down that `{}` is removed", path.display()));
        }
        Ok(Some(place))
    }

    /// Removes what was set aside, when there is time.
    pub(crate) fn sweep(&self, thrown: PathBuf) {
        let (removals, closing) = (self.inner.removals.clone(), self.inner.closing.clone());
        self.spawn(async move {
            let turn = tokio::select! {
                turn = removals.turn() => turn,
                // The next opening clears it away.
                () = closing.cancelled() => return,
            };
            if let Err(error) = removals.run(turn, move || remove_directory(&thrown)).await {
                tracing::warn!(error = %base::error::chain(&error), "remove what was thrown away");
            }
        });
    }
}

/// Moves back what was set aside.
pub(crate) fn put_back(thrown: &Path, path: &Path) {
    if let Err(error) = std::fs::rename(thrown, path) {
        tracing::warn!(path = %path.display(), %error, "put back what could not be removed");
    }
}

pub(crate) fn remove_directory(path: &Path) -> Result<()> {
    match base::tree::remove(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context(|| format!("remove `{}`", path.display())),
    }
}

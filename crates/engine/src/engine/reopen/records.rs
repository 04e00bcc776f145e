//! What is on disk of containers and sandboxes, taken up again.

use std::path::Path;
use std::sync::Arc;

use base::Trouble;

use crate::container::{ContainerRecord, RemoveOptions};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::{ContainerId, SandboxId};
use crate::registry::{AnySandbox, ContainerCell, SharedSandbox};
use crate::rootfs::Layers;
use crate::state::{self, ContainerFile, SandboxFile};
use crate::trouble::{load_sandbox, records};

impl Engine {
    /// Gives what was made up to its record its place, and clears the rest of it away.
    pub(super) fn finish_making(&self) {
        let places = &self.inner.places;
        let mut failed = state::finish::<ContainerFile>(&places.containers(), state::STATE_FILE);
        failed.extend(state::finish::<SandboxFile>(&places.sandboxes(), state::STATE_FILE));
        for (path, error) in failed {
            self.trouble(Trouble::new("something half made", &path, &error));
        }
    }

    pub(super) fn read_sandboxes(&self) {
        let mut troubles = Vec::new();
        let found = records(&self.inner.places.sandboxes(), "sandbox", &mut troubles, load_sandbox);
        let mut left_out = self.inner.left_out.write();
        left_out.is_blind |= found.is_err();
        for (name, record) in found.unwrap_or_default() {
            match record {
                Some(record) if record.id.as_str() == name => {
                    if let Some(first) = record.first_id {
                        self.inner.id_blocks.adopt(&record.id, first);
                    }
                    let cell = SharedSandbox::new(record.id.clone(), record.created, record.spec);
                    self.inner.registry.sandbox_add(cell);
                }
                record => {
                    left_out.sandboxes.extend(SandboxId::parse(&name).ok());
                    if record.is_some() {
                        troubles.push(misplaced("sandbox", &name, &self.inner.places.sandboxes()));
                    }
                }
            }
        }
        drop(left_out);
        troubles.into_iter().for_each(|trouble| self.trouble(trouble));
    }

    pub(super) fn read_containers(&self) {
        let mut troubles = Vec::new();
        let directory = self.inner.places.containers();
        let found = records(&directory, "container", &mut troubles, state::load_container);
        self.inner.left_out.write().is_blind |= found.is_err();
        for (name, record) in found.unwrap_or_default() {
            let taken = match record {
                Some(record) if record.id.as_str() == name => match self.readmit(record) {
                    Ok(()) => true,
                    Err(error) => {
                        troubles.push(Trouble::new(
                            format!("container {name}"),
                            &directory.join(&name),
                            &error,
                        ));
                        false
                    }
                },
                Some(_) => {
                    troubles.push(misplaced("container", &name, &directory));
                    false
                }
                None => false,
            };
            if !taken && let Ok(id) = ContainerId::parse(&name) {
                let mut left_out = self.inner.left_out.write();
                left_out.sandboxes.insert(SandboxId::of_container(&id));
                left_out.containers.insert(id);
            }
        }
        troubles.into_iter().for_each(|trouble| self.trouble(trouble));
    }

    /// Adds a container that an earlier engine made.
    fn readmit(&self, record: ContainerRecord) -> Result<()> {
        let sandbox = match &record.spec.sandbox {
            Some(sandbox) => AnySandbox::Shared(self.inner.registry.sandbox(sandbox)?),
            None => AnySandbox::of_container(&record.id),
        };
        let (id, volumes) = (record.id.clone(), crate::volume::names_of(&record.mounts));
        let is_active = record.life.status.is_active();
        self.inner.registry.add(Arc::new(ContainerCell::new(record, sandbox)))?;
        self.inner.volumes.readmit_user(&id, volumes, is_active);
        Ok(())
    }

    /// Brings the image store in line with the containers: the files of one whose record of them was
    /// lost are taken up again, those of none are removed.
    pub(super) fn readmit_snapshots(&self) {
        let (images, registry) = (&self.inner.images, &self.inner.registry);
        let failed = |name: &str, error: image::SnapshotError| {
            tracing::warn!(snapshot = name, error = %base::error::chain(&error), "see to a container's files");
        };
        for (name, is_empty) in images.snapshot_list_unread() {
            let cell = ContainerId::parse(&name).ok().and_then(|id| registry.get(&id).ok());
            let done = match cell {
                Some(cell) => images.snapshot_adopt(&name, &cell.record().layers.lower),
                // The machine lost power while it was made: nobody was told of it.
                None if is_empty && !self.may_belong(&name) => images.snapshot_discard(&name),
                None => Ok(()),
            };
            done.unwrap_or_else(|error| failed(&name, error));
        }
        for cell in registry.all() {
            // Where the files are now: the root may have been moved.
            if let Ok(snapshot) = images.snapshot_get(cell.id.as_str()) {
                let layers = Layers { lower: snapshot.lower, upper: snapshot.upper, work: snapshot.work };
                cell.change(|record| record.layers = layers);
            }
        }
        for name in images.snapshot_list() {
            // A build's own are its steps', and no build goes on without its engine.
            let of_mount = crate::container::images::container_of(&name);
            let owner = of_mount.as_ref().map_or(name.as_str(), ContainerId::as_str);
            let is_ours = ContainerId::parse(owner).is_ok() || name.starts_with(BUILD_PREFIX);
            if is_ours && !self.may_belong(owner) {
                images.snapshot_remove(&name).unwrap_or_else(|error| failed(&name, error));
            }
        }
    }

    /// Removes a container that belonged to work of an engine that is no more.
    pub(super) fn end_transient(&self, cell: Arc<ContainerCell>) {
        let engine = self.clone();
        self.spawn(async move {
            let options = RemoveOptions { force: true, volumes: true };
            if let Err(error) = engine.container_remove(&cell.id, options).await {
                tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "remove a container of a build that was cut short");
            }
        });
    }
}

/// How the snapshots of build steps that run nothing are called.
const BUILD_PREFIX: &str = "build-";

fn misplaced(kind: &str, name: &str, directory: &Path) -> Trouble {
    Trouble::saying(format!("{kind} {name}"), &directory.join(name), "its record is of another")
}

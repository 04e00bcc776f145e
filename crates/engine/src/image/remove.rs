//! Removing images.

use std::collections::HashSet;

use super::{ImagePruned, ImageRemoved, convert};
use crate::container::{ContainerRecord, PruneFilter};
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, Result};
use crate::event::EventKind;
use crate::work::blocking;

impl Engine {
    /// Removes a name of an image, and the image with its last one.
    pub async fn image_remove(
        &self,
        reference: &str,
        force: bool,
        prune_parents: bool,
    ) -> Result<Vec<ImageRemoved>> {
        let (engine, reference) = (self.clone(), reference.to_owned());
        blocking(move || {
            let (running, stopped) = engine.images_in_use();
            let options = image::RemoveOptions { force, keep_parents: !prune_parents, running, stopped };
            let removed =
                engine.inner.images.image_remove(&reference, &options).map_err(
                    |source| match convert::kind(source.kind()) {
                        Kind::NotFound => Fact::NoImage { reference: convert::with_tag(&reference) }.into(),
                        Kind::Conflict => Error::conflict(conflict(&engine, &reference, &source)),
                        _ => convert::error(source.kind(), source),
                    },
                )?;
            Ok(engine.tell_removed(removed))
        })
        .await
    }

    /// Removes images that no container uses: those without a name, or with `all` every one.
    pub async fn image_prune(&self, filter: PruneFilter, all: bool) -> Result<ImagePruned> {
        let engine = self.clone();
        blocking(move || {
            let (mut in_use, stopped) = engine.images_in_use();
            in_use.extend(stopped);
            let wanted = |image: &image::Image| {
                let created = image.config.created.as_deref().and_then(|text| text.parse().ok());
                filter.admits(created, &image.config.config.labels)
            };
            let pruned = engine
                .inner
                .images
                .image_prune(!all, &in_use, wanted)
                .map_err(|source| convert::error(source.kind(), source))?;
            let removed = engine.tell_removed(pruned.removed);
            engine.tell_prune(EventKind::Image, pruned.reclaimed);
            Ok(ImagePruned { removed, reclaimed: pruned.reclaimed })
        })
        .await
    }

    /// The images of running containers, and those of the others.
    fn images_in_use(&self) -> (HashSet<image::ImageId>, HashSet<image::ImageId>) {
        let (mut running, mut stopped) = (HashSet::new(), HashSet::new());
        for cell in self.inner.registry.all() {
            let is_active = cell.status().is_active();
            for id in images_of(&cell.record()) {
                let Ok(digest) = oci::Digest::parse(&id) else { continue };
                let id = image::ImageId(digest);
                if is_active {
                    running.insert(id)
                } else {
                    stopped.insert(id)
                };
            }
        }
        (running, stopped)
    }

    fn tell_removed(&self, removed: Vec<image::Removal>) -> Vec<ImageRemoved> {
        removed
            .into_iter()
            .map(|removal| match removal {
                image::Removal::Untagged(name) => {
                    self.emit_image("untag", &name.familiar(), &name.familiar());
                    ImageRemoved::Untagged(name.familiar())
                }
                image::Removal::Deleted(id) => {
                    self.emit_image("delete", &id.to_string(), "");
                    ImageRemoved::Deleted(id.to_string())
                }
            })
            .collect()
    }
}

/// The image that a container is made of, and those that are mounted in it.
fn images_of(record: &ContainerRecord) -> Vec<String> {
    let mounted = record.mounts.iter().filter_map(|point| point.image.clone());
    std::iter::once(record.resolved.image_id.clone()).chain(mounted).collect()
}

/// Why an image is not removed, with the container that needs it.
fn conflict(engine: &Engine, reference: &str, error: &image::RemoveError) -> String {
    let image::RemoveError::Conflict { source, .. } = error else { return error.to_string() };
    let user = |id: &image::ImageId| {
        let cells = engine.inner.registry.all();
        let cell = cells.iter().find(|cell| images_of(&cell.record()).contains(&id.to_string()));
        cell.map(|cell| cell.id.short().to_owned()).unwrap_or_default()
    };
    let by_name = convert::with_tag(reference);
    match source {
        image::Conflict::Named(id) => format!(
            "conflict: unable to remove repository reference \"{by_name}\" (must force) - container {} is using its referenced image {}",
            user(id),
            id.short()
        ),
        image::Conflict::Running(id) => format!(
            "conflict: unable to delete {} (cannot be forced) - image is being used by running container {}",
            id.short(),
            user(id)
        ),
        image::Conflict::InWork(id) => format!(
            "conflict: unable to delete {} (cannot be forced) - image is being used by a running build",
            id.short()
        ),
        image::Conflict::Stopped(id) => format!(
            "conflict: unable to delete {} (must be forced) - image is being used by stopped container {}",
            id.short(),
            user(id)
        ),
        image::Conflict::ManyNames(id) => format!(
            "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
            id.short()
        ),
        image::Conflict::NoName(id) => format!(
            "conflict: unable to remove repository reference \"{by_name}\" - it is no name of image {}: remove it by one of its names, or by its id",
            id.short()
        ),
        image::Conflict::Children(id) => {
            format!(
                "conflict: unable to delete {} (cannot be forced) - image has dependent child images",
                id.short()
            )
        }
    }
}

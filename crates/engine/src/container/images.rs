//! Images that are mounted in a container, beside the one that it is made of.
//!
//! The layers of each are kept by a snapshot of its own, so that the container can be started again when the
//! image has gone. Several layers are put together while it runs, below its bundle.

use std::path::Path;

use base::beneath::Beneath;
use rustix::fs::OFlags;

use super::record::ContainerRecord;
use super::source::{Source, outside};
use crate::engine::Engine;
use crate::error::{Context, Error, Result};
use crate::id::ContainerId;
use crate::rootfs::RootFs;
use crate::state;

/// How the snapshot of a container's mount is called.
fn snapshot(container: &ContainerId, index: usize) -> String {
    format!("{container}.{index}")
}

/// The container whose mount a snapshot is for.
pub(crate) fn container_of(snapshot: &str) -> Option<ContainerId> {
    let (container, index) = snapshot.split_once('.')?;
    index.parse::<usize>().ok()?;
    ContainerId::parse(container).ok()
}

/// Keeps the layers of an image for the container that is being made; gives the image.
pub(super) fn take(
    engine: &Engine,
    container: &ContainerId,
    index: usize,
    reference: &str,
) -> Result<image::ImageId> {
    let image = engine.image_present(reference)?;
    keep(engine, container, index, &image.id)?;
    Ok(image.id)
}

fn keep(
    engine: &Engine,
    container: &ContainerId,
    index: usize,
    image: &image::ImageId,
) -> Result<image::Snapshot> {
    let made = engine.inner.images.snapshot_create(&snapshot(container, index), Some(image));
    made.map_err(|source| {
        Error::new(crate::image::kind(source.kind()), "keep the layers of an image to be mounted")
            .with_source(source)
    })
}

/// The root file system of the image that is mounted.
pub(super) fn root(engine: &Engine, record: &ContainerRecord, index: usize) -> Result<RootFs> {
    RootFs::of_image(&kept(engine, record, index)?.lower)
}

fn kept(engine: &Engine, record: &ContainerRecord, index: usize) -> Result<image::Snapshot> {
    let image = record.mounts[index].image.as_deref().and_then(|id| oci::Digest::parse(id).ok());
    match (engine.inner.images.snapshot_get(&snapshot(&record.id, index)), image) {
        (Ok(snapshot), _) => Ok(snapshot),
        // A power cut may have taken it: it is not waited for when the container is made.
        (Err(_), Some(image)) => keep(engine, &record.id, index, &image::ImageId(image)),
        (Err(source), None) => Err(Error::internal("find the layers of a mounted image").with_source(source)),
    }
}

/// Opens an image, or a part of it, to be mounted in the container that is started.
pub(super) fn open(
    engine: &Engine,
    record: &ContainerRecord,
    index: usize,
    reference: &str,
    part: Option<&str>,
) -> Result<Source> {
    let lower = kept(engine, record, index)?.lower;
    let failed = || format!("mount the image {reference}");
    let (path, root) = match lower.as_slice() {
        [one] => (one.clone(), RootFs::of_image(&lower)?),
        _ => {
            let place = engine.inner.places.image_mount(&record.id, index);
            state::make_directory(&place, 0o700)?;
            // One that an engine which was killed has left.
            base::mounts::take_away(&place).context(failed)?;
            RootFs::of_image(&lower)?.attach(&place).context(failed)?;
            (place.clone(), RootFs::at(&place).context(failed)?)
        }
    };
    let fd = root.open("/", OFlags::PATH).map_err(std::io::Error::from).context(failed)?;
    let Some(part) = part else { return Ok(Source { path, fd, held: None }) };
    let whole = path.join(part);
    let fd =
        Beneath::of(fd).find(Path::new(part), OFlags::PATH).map_err(|error| outside(&path, part, error))?;
    Ok(Source { path: whole, fd, held: None })
}

/// Takes away what was put together for a container that does not run any more.
pub(crate) fn unmount(engine: &Engine, record: &ContainerRecord) {
    if record.mounts.iter().any(|point| point.image.is_some()) {
        let place = engine.inner.places.image_mounts(&record.id);
        if let Err(error) = base::mounts::take_away(&place) {
            tracing::warn!(container = %record.id, %error, "unmount images");
        }
    }
}

/// Lets go of the layers of the images that a container, or one that was being made, has mounted.
pub(crate) fn let_go(engine: &Engine, container: &ContainerId) {
    let images = &engine.inner.images;
    for name in images.snapshot_list() {
        if container_of(&name).as_ref() == Some(container)
            && let Err(error) = images.snapshot_remove(&name)
        {
            tracing::warn!(snapshot = name, error = %base::error::chain(&error), "let go of an image that was mounted");
        }
    }
}

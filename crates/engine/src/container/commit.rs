//! Making an image of a container.

use base::cancel::Cancel;

use super::record::ContainerRecord;
use super::view::{ResolvedSpec, Status};
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, Operation, Result};
use crate::id::ContainerId;
use crate::image::{self, ImageConfig, ImageId};
use crate::work::blocking;

/// What the image is given besides the container's files.
#[derive(Clone, Debug, Default)]
pub struct CommitSpec {
    /// Its name; none where `None`.
    pub reference: Option<String>,
    /// Who made it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// What the history says of how the layer was made; the container's command where `None`.
    pub created_by: Option<String>,
    /// The configuration; what the container runs with where `None`.
    pub config: Option<ImageConfig>,
    /// Freezes the container meanwhile.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of the container's image plus what it changed.
    pub async fn container_commit(&self, id: &ContainerId, spec: CommitSpec) -> Result<ImageId> {
        let cell = self.inner.registry.get(id)?;
        let name = spec.reference.as_deref().filter(|name| !name.is_empty());
        let name = name.map(image::reference).transpose()?.map(|name| name.with_default_tag());
        // Nothing else happens to the container meanwhile.
        let _operation = cell.operation.lock().await;
        if matches!(cell.status(), Status::Removing | Status::Dead) {
            return Err(cell.refuse(Operation::Commit));
        }
        let frozen = spec.pause && cell.status() == Status::Running && {
            match self.freeze(&cell).await {
                Ok(()) => true,
                // It has just ended, and holds still by itself.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => false,
                Err(error) => return Err(error),
            }
        };
        let (engine, record, named) = (self.clone(), cell.record(), name.clone());
        let cancel = cell.begin_commit();
        let committed = blocking(move || engine.commit(&record, spec, named, &cancel)).await;
        if frozen {
            match self.thaw(&cell).await {
                // It was killed meanwhile.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                thawed => thawed?,
            }
        }
        let image = committed?;
        self.emit(&cell, "commit", &[("comment", image.to_string())]);
        self.emit_image("create", image.as_str(), image.as_str());
        if let Some(name) = name {
            self.emit_image("tag", image.as_str(), &name.familiar());
        }
        Ok(image)
    }

    fn commit(
        &self,
        record: &ContainerRecord,
        spec: CommitSpec,
        name: Option<oci::Reference>,
        cancel: &Cancel,
    ) -> Result<ImageId> {
        let failed = |what: &str| Error::internal(format!("commit container {}: {what}", record.id));
        let layer = self.inner.images.snapshot_capture(record.id.as_str(), cancel).map_err(|source| {
            if cancel.check().is_err() {
                return being_removed(record);
            }
            Error::new(image::kind(source.kind()), "make a layer of what the container changed")
                .with_source(source)
        })?;
        let parent = oci::Digest::parse(&record.resolved.image_id)
            .map_err(|source| failed("its image's id is none").with_source(source))?;
        let config = spec.config.unwrap_or_else(|| config_of(&record.resolved));
        let created_by = spec.created_by.unwrap_or_else(|| record.resolved.args.join(" "));
        let mut new = ::image::NewImage::on(
            Some(::image::ImageId(parent)),
            image::config_to_oci(&config),
            self.inner.clock.now(),
            &created_by,
        );
        new.layer = Some(layer);
        new.comment = spec.comment;
        new.author = spec.author;
        new.name = name;
        let made = self.inner.images.image_create(new).map_err(|source| {
            Error::new(image::kind(source.kind()), "make an image of a container").with_source(source)
        })?;
        Ok(ImageId(made.id.to_string()))
    }
}

fn being_removed(record: &ContainerRecord) -> Error {
    let (container, name) = (record.id.clone(), record.name.clone());
    Fact::Status { container, name, status: Status::Removing, operation: Operation::Commit }.into()
}

/// How a container runs, for the containers of its image.
fn config_of(resolved: &ResolvedSpec) -> ImageConfig {
    let some = |words: &Vec<String>| Some(words.clone()).filter(|words| !words.is_empty());
    ImageConfig {
        user: resolved.user.clone(),
        exposed_ports: resolved.exposed_ports.clone(),
        env: resolved.env.iter().filter(|line| line.contains('=')).cloned().collect(),
        entrypoint: some(&resolved.entrypoint),
        command: some(&resolved.command),
        volumes: resolved.image_volumes.clone(),
        workdir: resolved.workdir.clone(),
        labels: resolved.labels.clone(),
        stop_signal: Some(resolved.stop_signal.clone()).filter(|signal| !signal.is_empty()),
        healthcheck: resolved.healthcheck.clone(),
        on_build: Vec::new(),
        shell: some(&resolved.shell),
    }
}

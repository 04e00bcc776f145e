//! Recording images so that they outlive the machine's power.

use std::collections::BTreeSet;
use std::io;

use oci::{Digest, ImageConfig, Reference};

use super::{FindError, ImageId};
use crate::state::ImageRecord;
use crate::store::{Inner, Tables, WriteError};

/// An image that is to be recorded. Its layers are in the store, held by the caller.
pub(crate) struct NewRecord<'a> {
    /// The configuration, as it came.
    pub(crate) bytes: &'a [u8],
    pub(crate) config: &'a ImageConfig,
    pub(crate) parent: Option<ImageId>,
    pub(crate) names: &'a [Reference],
}

impl Inner {
    /// Records images for good, all or none: they are whole on disk, with their layers, when this
    /// returns. The file system is flushed once, if one of the layers is new; then the state is written.
    pub(crate) fn image_put(&self, images: &[NewRecord<'_>]) -> Result<Vec<ImageId>, WriteError> {
        let layers: BTreeSet<Digest> = images.iter().flat_map(|image| image.config.chain_ids()).collect();
        let parents: BTreeSet<ImageId> = images.iter().filter_map(|image| image.parent.clone()).collect();
        let later = layers.iter().any(|chain_id| self.tables.lock().is_unflushed(chain_id));
        let mut ids = Vec::new();
        for image in images {
            ids.push(ImageId(self.blob_write(image.bytes, later)?));
        }
        let mut tables = self.flushed(&layers, &parents)?;
        let before = (tables.names.clone(), tables.images.clone());
        for (image, id) in images.iter().zip(&ids) {
            // It may have been removed, with another image of the same content, during the flush.
            if !self.blob_path(&id.0).exists() {
                self.blob_write(image.bytes, false)?;
            }
            let old = tables.images.get(id).cloned();
            let mut record = old.unwrap_or_else(|| ImageRecord {
                parent: image.parent.clone(),
                layers: image.config.chain_ids(),
                ..ImageRecord::default()
            });
            if image.names.iter().any(|name| name.tag().is_some()) {
                record.tagged_at = Some(self.clock.now());
            }
            tables.image_insert(id.clone(), record);
            tables.flushed_image(id);
            for name in image.names {
                tables.name_put(name, id);
            }
        }
        if let Err(error) = self.persist(&tables) {
            let (names, images) = before;
            for id in &ids {
                if !images.contains_key(id)
                    && let Some(record) = tables.image_take(id)
                {
                    self.image_sweep(&mut tables, id, &record);
                }
            }
            tables.names = names;
            return Err(error);
        }
        Ok(ids)
    }

    /// Takes away the files of an image that is in the tables no more.
    pub(crate) fn image_sweep(&self, tables: &mut Tables, id: &ImageId, record: &ImageRecord) {
        if let Err(error) = std::fs::remove_file(self.blob_path(&id.0))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(image = %id, %error, "the configuration of a removed image could not be removed");
        }
        tables.flushed_image(id);
        for chain_id in &record.held {
            self.layer_release(tables, Some(chain_id));
        }
    }

    /// Points names at an image, on disk.
    pub(super) fn name_set(
        &self,
        tables: &mut Tables,
        id: &ImageId,
        names: &[Reference],
    ) -> Result<(), WriteError> {
        let Some(record) = tables.images.get_mut(id) else {
            return Err(FindError::NotFound { name: id.to_string() }.into());
        };
        let tagged_before = record.tagged_at;
        if !names.is_empty() {
            record.tagged_at = Some(self.clock.now());
        }
        let names_before = tables.names.clone();
        for name in names {
            tables.name_put(name, id);
        }
        let stored = self.persist(tables);
        if stored.is_err() {
            tables.names = names_before;
            if let Some(record) = tables.images.get_mut(id) {
                record.tagged_at = tagged_before;
            }
        }
        stored
    }
}

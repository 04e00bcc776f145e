//! Recording images so that they outlive the machine's power.

use std::collections::BTreeSet;
use std::sync::Arc;

use oci::{Digest, ImageConfig, Reference};

use super::{FindError, ImageId};
use crate::content::{Kept, Lease};
use crate::state::{Content, ImageRecord, Named};
use crate::store::{Inner, Tables, WriteError};

/// An image that is to be recorded. Its layers are in the store, held by the caller, and so is what its
/// documents lead to beside those.
pub(crate) struct NewRecord<'a> {
    /// The configuration, as it came: its digest is the image's id.
    pub(crate) document: &'a Kept,
    /// What it says.
    pub(crate) config: &'a ImageConfig,
    pub(crate) parent: Option<ImageId>,
    pub(crate) names: &'a [Reference],
    /// As what it came.
    pub(crate) source: Option<&'a Source>,
}

/// As what an image came: the document that its name leads to, and those that lead on from there.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) target: Content,
    pub(crate) documents: Vec<Kept>,
}

impl NewRecord<'_> {
    fn id(&self) -> ImageId {
        ImageId(self.document.digest().clone())
    }
}

impl Inner {
    /// Records images for good, all or none: they are whole on disk, with their layers, when this
    /// returns. The file system is flushed once, if one of the layers is new; then the state is written.
    pub(crate) fn image_put(self: &Arc<Self>, images: &[NewRecord<'_>]) -> Result<(), WriteError> {
        let mut lease = Lease::new(self);
        let documents: Vec<&Kept> =
            images.iter().filter_map(|image| image.source).flat_map(|source| &source.documents).collect();
        let configs = images.iter().map(|image| image.document);
        let own: Vec<&Kept> = configs.chain(documents.iter().copied()).collect();
        lease.content(own.iter().map(|document| document.digest().clone()));

        let links: Vec<Vec<Digest>> = documents.iter().map(|document| document.links()).collect();
        let needed: BTreeSet<Digest> = images
            .iter()
            .flat_map(|image| image.config.chain_ids())
            .chain(links.iter().flatten().cloned())
            .chain(own.iter().map(|document| document.digest().clone()))
            .collect();
        let parents: BTreeSet<ImageId> = images.iter().filter_map(|image| image.parent.clone()).collect();
        let later = needed.iter().any(|digest| self.tables.lock().is_unflushed(digest));
        for document in own {
            self.blob_put(document, later)?;
        }
        let mut tables = self.flushed(&needed, &parents)?;
        for (document, links) in documents.iter().zip(links) {
            tables.document_insert(document.digest(), links);
        }
        let before = (tables.names.clone(), tables.images.clone());
        for image in images {
            let id = image.id();
            let mut record = tables.images.get(&id).cloned().unwrap_or_else(|| ImageRecord {
                parent: image.parent.clone(),
                layers: image.config.chain_ids(),
                ..ImageRecord::default()
            });
            if image.names.iter().any(|name| name.tag().is_some()) {
                record.tagged_at = Some(self.clock.now());
            }
            let target = image.source.map(|source| source.target.clone());
            record.source = target.clone().or(record.source);
            tables.image_insert(id.clone(), record);
            tables.flushed_image(&id);
            for name in image.names {
                tables.name_put(name, Named { image: id.clone(), target: target.clone() });
            }
        }
        if let Err(error) = self.persist(&mut tables) {
            let (names, images_before) = before;
            for id in images.iter().map(NewRecord::id) {
                if !images_before.contains_key(&id)
                    && let Some(record) = tables.image_take(&id)
                {
                    self.image_sweep(&mut tables, &id, &record);
                } else if let (Some(record), Some(before)) =
                    (tables.images.get_mut(&id), images_before.get(&id))
                {
                    (record.source, record.tagged_at) = (before.source.clone(), before.tagged_at);
                }
            }
            tables.names = names;
            drop(tables);
            return Err(error);
        }
        // What the names led to before, and the images came as, may be of no use any more.
        let (names, images_before) = before;
        let old_targets = images
            .iter()
            .flat_map(|image| image.names)
            .filter_map(|name| names.get(&name.with_default_tag())?.target.as_ref());
        let old_sources = images.iter().filter_map(|image| images_before.get(&image.id())?.source.as_ref());
        let old: Vec<Digest> = old_targets.chain(old_sources).map(|content| content.digest.clone()).collect();
        self.content_sweep(&mut tables, old);
        drop(tables);
        Ok(())
    }

    /// A registry has an image under this name, and as this document: by its digest it is known from now on,
    /// and as it, if it was known as none before.
    pub(crate) fn image_pushed(
        self: &Arc<Self>,
        id: &ImageId,
        name: &Reference,
        media_type: &str,
        document: &Kept,
    ) -> Result<(), WriteError> {
        let digest = document.digest();
        let mut lease = Lease::new(self);
        lease.content([digest.clone()]);
        let size = document.bytes().len() as u64;
        let target = Content { media_type: media_type.to_owned(), digest: digest.clone(), size };
        let by_digest = name.with_digest(digest.clone());
        let named = Named { image: id.clone(), target: Some(target.clone()) };
        if self.tables().names.get(&by_digest) == Some(&named) {
            return Ok(());
        }
        self.blob_put(document, false)?;
        let mut tables = self.tables();
        let names = tables.names.clone();
        // It may have been removed meanwhile.
        let Some(record) = tables.images.get_mut(id) else { return Ok(()) };
        let source = record.source.clone();
        record.source.get_or_insert(target);
        tables.document_insert(digest, document.links());
        if tables.names.get(name).is_some_and(|old| old.image == *id && old.target.is_none()) {
            tables.name_put(name, named.clone());
        }
        tables.name_put(&by_digest, named);
        let stored = self.persist(&mut tables);
        if stored.is_err() {
            tables.names = names;
            if let Some(record) = tables.images.get_mut(id) {
                record.source = source;
            }
        }
        drop(tables);
        stored
    }

    /// Takes away the files of an image that is in the tables no more.
    pub(crate) fn image_sweep(&self, tables: &mut Tables, id: &ImageId, record: &ImageRecord) {
        tables.flushed_image(id);
        let source = record.source.iter().map(|source| source.digest.clone());
        self.content_sweep(tables, source.chain([id.0.clone()]));
        for chain_id in &record.held {
            self.layer_release(tables, Some(chain_id));
        }
    }

    /// Points names at an image and, if it is known as what, at that; on disk.
    pub(super) fn name_set(
        &self,
        tables: &mut Tables,
        id: &ImageId,
        target: Option<&Content>,
        names: &[Reference],
    ) -> Result<(), WriteError> {
        let Some(record) = tables.images.get_mut(id) else {
            return Err(FindError::NotFound { name: id.to_string() }.into());
        };
        let tagged_before = record.tagged_at;
        if !names.is_empty() {
            record.tagged_at = Some(self.clock.now());
        }
        let target = target.or(record.source.as_ref()).cloned();
        let names_before = tables.names.clone();
        for name in names {
            tables.name_put(name, Named { image: id.clone(), target: target.clone() });
        }
        let stored = self.persist(tables);
        if stored.is_err() {
            tables.names = names_before;
            if let Some(record) = tables.images.get_mut(id) {
                record.tagged_at = tagged_before;
            }
            return stored;
        }
        let old = names.iter().filter_map(|name| names_before.get(&name.with_default_tag())?.target.as_ref());
        self.content_sweep(tables, old.map(|content| content.digest.clone()));
        Ok(())
    }
}

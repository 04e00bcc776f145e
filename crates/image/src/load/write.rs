//! Writing image archives that Docker and OCI tools both load.
//!
//! One archive is both: an OCI layout (`oci-layout`, `index.json`, `blobs/`) whose
//! `manifest.json` points Docker at the same blobs. Layers are written uncompressed, so a layer's
//! blob has its diff id as digest.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use oci::archive::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, DOCKER_MANIFEST_FILE, DOCKER_REPOSITORIES_FILE,
    DockerManifestEntry, DockerRepositories, OCI_INDEX_FILE, OCI_LAYOUT_FILE, OciLayout,
};
use oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use serde::Serialize;

use super::SaveError;
use crate::image::{FindError, Image, ImageId};
use crate::layer::Layer;
use crate::store::Inner;

pub(super) fn save(inner: &Arc<Inner>, names: &[String], archive: impl Write) -> Result<(), SaveError> {
    let mut writer = ArchiveWriter { tar: tar::Builder::new(archive), written: BTreeSet::new() };
    let mut docker = Vec::new();
    let mut repositories = DockerRepositories::new();
    let mut index = empty_index();
    for (id, names) in choose(inner, names)? {
        let image = inner.image(&id)?;
        let manifest = writer.image(inner, &image)?;
        let mut layers = Vec::new();
        for diff_id in &image.config.rootfs.diff_ids {
            layers.push(blob_path(diff_id));
        }
        docker.push(DockerManifestEntry {
            config: blob_path(&id.0),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers,
        });
        for name in &names {
            let top = image.layers.last().map(|chain_id| chain_id.hex().to_owned()).unwrap_or_default();
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top);
            let mut entry = manifest.clone();
            entry.annotations.insert(ANNOTATION_IMAGE_NAME.to_owned(), name.to_string());
            entry
                .annotations
                .insert(ANNOTATION_REF_NAME.to_owned(), name.tag().unwrap_or_default().to_owned());
            index.manifests.push(entry);
        }
        if names.is_empty() {
            index.manifests.push(manifest);
        }
    }
    writer.document(OCI_INDEX_FILE, &index)?;
    writer.document(DOCKER_MANIFEST_FILE, &docker)?;
    writer.document(OCI_LAYOUT_FILE, &OciLayout::default())?;
    if !repositories.is_empty() {
        writer.document(DOCKER_REPOSITORIES_FILE, &repositories)?;
    }
    writer.tar.into_inner().and_then(|mut archive| archive.flush()).map_err(SaveError::Write)
}

struct ArchiveWriter<W: Write> {
    tar: tar::Builder<W>,
    written: BTreeSet<Digest>,
}

/// The images that are meant, each with the names to save it under, in the order first named.
fn choose(inner: &Inner, names: &[String]) -> Result<Vec<(ImageId, Vec<Reference>)>, SaveError> {
    let tables = inner.tables();
    let mut chosen: Vec<(ImageId, Vec<Reference>)> = Vec::new();
    let mut add = |id: &ImageId, name: Option<&Reference>| {
        let at = match chosen.iter().position(|(known, _)| known == id) {
            Some(at) => at,
            None => {
                chosen.push((id.clone(), Vec::new()));
                chosen.len() - 1
            }
        };
        if let Some(name) = name.filter(|name| !chosen[at].1.contains(name)) {
            chosen[at].1.push(name.clone());
        }
    };
    for text in names {
        let reference = Reference::parse(text).ok();
        let bare = reference.as_ref().filter(|name| name.tag().is_none() && name.digest().is_none());
        let mut found = false;
        if let Some(bare) = bare {
            for (name, id) in tables.names.iter().filter(|(name, _)| name.tag().is_some()) {
                if name.domain() == bare.domain() && name.path() == bare.path() {
                    add(id, Some(name));
                    found = true;
                }
            }
        }
        if !found {
            let id = tables.resolve(text).map_err(|error| match error {
                FindError::NotFound { .. } => FindError::NotFound { name: text.clone() },
                other => other,
            })?;
            let tagged = reference.filter(|name| name.tag().is_some() && tables.names.get(name) == Some(&id));
            add(&id, tagged.as_ref());
        }
    }
    Ok(chosen)
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes configuration, layers and manifest of an image; gives the manifest's descriptor.
    fn image(&mut self, inner: &Arc<Inner>, image: &Image) -> Result<Descriptor, SaveError> {
        let config = std::fs::read(inner.blob_path(&image.id.0))
            .map_err(|source| FindError::Read { id: image.id.0.clone(), source })?;
        let mut layers = Vec::new();
        for (chain_id, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let missing = || FindError::NotFound { name: format!("layer {chain_id}") };
            let layer = Layer::hold(inner, chain_id).ok_or_else(missing)?;
            let size = self.layer(inner, &layer, diff_id)?;
            layers.push(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size));
        }
        self.blob(&image.id.0, &config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: Descriptor::new(media_type::OCI_CONFIG, image.id.0.clone(), config.len() as u64),
            layers,
            annotations: BTreeMap::new(),
        };
        let bytes = to_json(&manifest);
        let mut descriptor = Descriptor::of(media_type::OCI_MANIFEST, &bytes);
        self.blob(&descriptor.digest, &bytes)?;
        descriptor.platform = Some(image.config.platform());
        Ok(descriptor)
    }

    fn layer(&mut self, inner: &Inner, layer: &Layer, diff_id: &Digest) -> Result<u64, SaveError> {
        let size = inner.tables().layer(layer.chain_id()).map_or(0, |record| record.archive_size);
        if !self.written.insert(diff_id.clone()) {
            return Ok(size);
        }
        let mut header = header(size);
        header.set_path(blob_path(diff_id)).map_err(SaveError::Write)?;
        header.set_cksum();
        let layer_error = |source| SaveError::Layer { digest: diff_id.clone(), source };
        let out = self.tar.get_mut();
        out.write_all(header.as_bytes()).map_err(SaveError::Write)?;
        let mut counted = Counted { out, written: 0 };
        layer.write_archive(&mut counted).map_err(layer_error)?;
        let written = counted.written;
        if written != size {
            return Err(layer_error(io::Error::new(io::ErrorKind::InvalidData, "its length has changed")));
        }
        let padding = (size.next_multiple_of(512) - size) as usize;
        self.tar.get_mut().write_all(&[0; 512][..padding]).map_err(SaveError::Write)?;
        Ok(size)
    }

    fn blob(&mut self, digest: &Digest, content: &[u8]) -> Result<(), SaveError> {
        if !self.written.insert(digest.clone()) {
            return Ok(());
        }
        self.file(&blob_path(digest), content)
    }

    fn document(&mut self, path: &str, document: &impl Serialize) -> Result<(), SaveError> {
        self.file(path, &to_json(document))
    }

    fn file(&mut self, path: &str, content: &[u8]) -> Result<(), SaveError> {
        let mut header = header(content.len() as u64);
        self.tar.append_data(&mut header, Path::new(path), content).map_err(SaveError::Write)
    }
}

struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn empty_index() -> Index {
    Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: Vec::new(),
        annotations: BTreeMap::new(),
    }
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("a tree of strings and numbers always prints")
}

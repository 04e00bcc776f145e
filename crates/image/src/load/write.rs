//! Writing image archives that Docker and OCI tools both load.
//!
//! One archive is both: an OCI layout (`oci-layout`, `index.json`, `blobs/`) whose
//! `manifest.json` points Docker at the same blobs.
//!
//! What came as a manifest or an index, with its layers in the form that they had, goes out as it came, with
//! as much of the index as is here. Everything else gets a manifest whose layers are uncompressed, so that a
//! layer's blob has its diff id as digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use oci::archive::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, DOCKER_MANIFEST_FILE, DOCKER_REPOSITORIES_FILE,
    DockerManifestEntry, DockerRepositories, OCI_INDEX_FILE, OCI_LAYOUT_FILE, OciLayout,
};
use oci::{Descriptor, Digest, Document, Hasher, Index, Manifest, Reference, media_type};
use serde::Serialize;

use super::SaveError;
use crate::content::{Kept, Leaf, Lease, Tree};
use crate::image::{FindError, Image, ImageId};
use crate::layer::Layer;
use crate::state::Content;
use crate::store::Inner;

pub(super) fn save(inner: &Arc<Inner>, names: &[String], archive: impl Write) -> Result<(), SaveError> {
    let mut writer =
        ArchiveWriter { tar: tar::Builder::new(archive), written: BTreeSet::new(), made: BTreeMap::new() };
    let mut docker = Vec::new();
    let mut repositories = DockerRepositories::new();
    let mut index = empty_index();
    for Chosen { id, names, target } in choose(inner, names)? {
        let image = inner.image(&id)?;
        let made = image.config.created.as_deref().and_then(|text| text.parse::<base::Timestamp>().ok());
        writer.made.extend(made.and_then(|made| Some((id.0.clone(), u64::try_from(made.as_second()).ok()?))));
        let Written { target, layers } = writer.image(inner, &image, target.as_ref())?;
        docker.push(DockerManifestEntry {
            config: blob_path(&id.0),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: layers.iter().map(blob_path).collect(),
        });
        for name in &names {
            let top = image.layers.last().map(|chain_id| chain_id.hex().to_owned()).unwrap_or_default();
            let tags = repositories.entry(name.familiar_name()).or_default();
            tags.insert(name.tag().unwrap_or_default().to_owned(), top);
            let mut entry = target.clone();
            entry.annotations.insert(ANNOTATION_IMAGE_NAME.to_owned(), name.to_string());
            entry
                .annotations
                .insert(ANNOTATION_REF_NAME.to_owned(), name.tag().unwrap_or_default().to_owned());
            index.manifests.push(entry);
        }
        if names.is_empty() {
            index.manifests.push(target);
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
    /// When images were made: their configurations say so as files too.
    made: BTreeMap<Digest, u64>,
}

/// An image that is to be saved.
struct Chosen {
    id: ImageId,
    /// The names to save it under.
    names: Vec<Reference>,
    /// What those lead to.
    target: Option<Content>,
}

/// What was written of an image.
struct Written {
    /// The document that its names lead to.
    target: Descriptor,
    /// The digests of its layers in the archive, lowest first.
    layers: Vec<Digest>,
}

/// The images that are meant, in the order first named; those that are known as several documents once for
/// each.
fn choose(inner: &Inner, names: &[String]) -> Result<Vec<Chosen>, SaveError> {
    let tables = inner.tables();
    let mut chosen: Vec<Chosen> = Vec::new();
    let mut add = |id: &ImageId, target: Option<&Content>, name: Option<&Reference>| {
        let known = chosen.iter().position(|known| known.id == *id && known.target.as_ref() == target);
        let at = known.unwrap_or_else(|| {
            chosen.push(Chosen { id: id.clone(), names: Vec::new(), target: target.cloned() });
            chosen.len() - 1
        });
        if let Some(name) = name.filter(|name| !chosen[at].names.contains(name)) {
            chosen[at].names.push(name.clone());
        }
    };
    for text in names {
        let reference = Reference::parse(text).ok();
        let bare = reference.as_ref().filter(|name| name.tag().is_none() && name.digest().is_none());
        let mut found = false;
        if let Some(bare) = bare {
            for (name, named) in tables.names.iter().filter(|(name, _)| name.tag().is_some()) {
                if name.domain() == bare.domain() && name.path() == bare.path() {
                    add(&named.image, named.target.as_ref(), Some(name));
                    found = true;
                }
            }
        }
        if !found {
            let id = tables.resolve(text).map_err(|error| match error {
                FindError::NotFound { .. } => FindError::NotFound { name: text.clone() },
                other => other,
            })?;
            let named = tables.name_of(text).filter(|named| named.image == id);
            let source = tables.images.get(&id).and_then(|record| record.source.as_ref());
            let target = named.map_or(source, |named| named.target.as_ref());
            let tagged = reference.filter(|name| name.tag().is_some() && name.digest().is_none());
            let tagged = tagged.filter(|name| tables.names.get(name).is_some_and(|named| named.image == id));
            add(&id, target, tagged.as_ref());
        }
    }
    Ok(chosen)
}

impl<W: Write> ArchiveWriter<W> {
    /// Writes an image with all that belongs to it.
    fn image(
        &mut self,
        inner: &Arc<Inner>,
        image: &Image,
        target: Option<&Content>,
    ) -> Result<Written, SaveError> {
        if let Some(target) = target {
            let read_error = |source| FindError::Read { id: target.digest.clone(), source };
            let mut lease = Lease::new(inner);
            lease.content([target.digest.clone()]);
            if let Some(tree) = Tree::read(inner, target).map_err(read_error)?
                && let Some(manifest) = tree.manifest_of(&image.id).filter(|manifest| manifest.is_exact())
            {
                let layers = manifest.leaves().skip(1).map(|(layer, _)| layer.digest.clone()).collect();
                self.tree(inner, &tree)?;
                let mut target = tree.descriptor.clone();
                if let Document::Manifest(_) = tree.document {
                    target.platform = Some(image.config.platform());
                }
                return Ok(Written { target, layers });
            }
        }
        let config = inner
            .blob_read(&image.id.0)
            .map_err(|source| FindError::Read { id: image.id.0.clone(), source })?;
        let mut layers = Vec::new();
        for (chain_id, diff_id) in image.layers.iter().zip(&image.config.rootfs.diff_ids) {
            let missing = || FindError::NotFound { name: format!("layer {chain_id}") };
            let layer = Layer::hold(inner, chain_id).ok_or_else(missing)?;
            let size = self.layer(inner, &layer, diff_id)?;
            layers.push(Descriptor::new(media_type::OCI_LAYER, diff_id.clone(), size));
        }
        self.blob(&config)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST.to_owned(),
            config: Descriptor::new(media_type::OCI_CONFIG, image.id.0.clone(), config.bytes().len() as u64),
            layers,
            annotations: BTreeMap::new(),
        };
        let document = Kept::of(to_json(&manifest));
        let size = document.bytes().len() as u64;
        let mut target = Descriptor::new(media_type::OCI_MANIFEST, document.digest().clone(), size);
        self.blob(&document)?;
        target.platform = Some(image.config.platform());
        Ok(Written { target, layers: manifest.layers.into_iter().map(|layer| layer.digest).collect() })
    }

    /// Writes a document and what it leads to, as it came. Of an index, manifests of which something is not
    /// here are left out: who has the index still has that of the others.
    fn tree(&mut self, inner: &Arc<Inner>, tree: &Tree) -> Result<(), SaveError> {
        for tree in tree.trees().filter(|tree| tree.is_exact()) {
            self.tree(inner, tree)?;
        }
        for (descriptor, leaf) in tree.leaves() {
            self.leaf(inner, descriptor, leaf)?;
        }
        self.blob(&tree.kept)
    }

    fn leaf(&mut self, inner: &Arc<Inner>, descriptor: &Descriptor, leaf: &Leaf) -> Result<(), SaveError> {
        match leaf {
            Leaf::Archive(layer) => self.layer(inner, layer, &descriptor.digest).map(drop),
            Leaf::Blob => {
                let path = inner.blob_path(&descriptor.digest);
                let sent = self.streamed(descriptor, |out| io::copy(&mut File::open(&path)?, out).map(drop));
                if matches!(sent, Err(SaveError::Layer { .. })) {
                    // The next time, the layer is put together instead.
                    inner.blob_condemn(&descriptor.digest);
                }
                sent
            }
            Leaf::Compressed(layer) => {
                self.streamed(descriptor, |out| layer.write_compressed(out, |_| {}).map(drop))
            }
            Leaf::Layer | Leaf::Missing => {
                Err(FindError::NotFound { name: descriptor.digest.to_string() }.into())
            }
        }
    }

    /// Writes a blob whose bytes `write` gives, and checks that they are what they should be.
    fn streamed(
        &mut self,
        descriptor: &Descriptor,
        write: impl FnOnce(&mut Counted<'_, W>) -> io::Result<()>,
    ) -> Result<(), SaveError> {
        if !self.written.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        let digest = &descriptor.digest;
        let layer_error = |source| SaveError::Layer { digest: digest.clone(), source };
        let mut header = header(descriptor.size, self.made.get(digest).copied());
        header.set_path(blob_path(digest)).map_err(SaveError::Write)?;
        header.set_cksum();
        let out = self.tar.get_mut();
        out.write_all(header.as_bytes()).map_err(SaveError::Write)?;
        let mut counted = Counted { out, written: 0, hasher: Some(digest.algorithm().hasher()) };
        write(&mut counted).map_err(layer_error)?;
        let is_whole = counted.written == descriptor.size;
        let actual = counted.hasher.take().map(Hasher::finish);
        if !is_whole || actual.as_ref() != Some(digest) {
            return Err(layer_error(io::Error::new(io::ErrorKind::InvalidData, "it has changed")));
        }
        self.padding(descriptor.size)
    }

    fn padding(&mut self, size: u64) -> Result<(), SaveError> {
        let padding = (size.next_multiple_of(512) - size) as usize;
        self.tar.get_mut().write_all(&[0; 512][..padding]).map_err(SaveError::Write)
    }

    fn layer(&mut self, inner: &Inner, layer: &Layer, diff_id: &Digest) -> Result<u64, SaveError> {
        let size = inner.tables().layer(layer.chain_id()).map_or(0, |record| record.archive_size);
        if !self.written.insert(diff_id.clone()) {
            return Ok(size);
        }
        let mut header = header(size, None);
        header.set_path(blob_path(diff_id)).map_err(SaveError::Write)?;
        header.set_cksum();
        let layer_error = |source| SaveError::Layer { digest: diff_id.clone(), source };
        let out = self.tar.get_mut();
        out.write_all(header.as_bytes()).map_err(SaveError::Write)?;
        let mut counted = Counted { out, written: 0, hasher: None };
        layer.write_archive(&mut counted).map_err(layer_error)?;
        let written = counted.written;
        if written != size {
            return Err(layer_error(io::Error::new(io::ErrorKind::InvalidData, "its length has changed")));
        }
        self.padding(size)?;
        Ok(size)
    }

    fn blob(&mut self, document: &Kept) -> Result<(), SaveError> {
        if !self.written.insert(document.digest().clone()) {
            return Ok(());
        }
        let made = self.made.get(document.digest()).copied();
        self.file(&blob_path(document.digest()), document.bytes(), made)
    }

    fn document(&mut self, path: &str, document: &impl Serialize) -> Result<(), SaveError> {
        self.file(path, &to_json(document), None)
    }

    fn file(&mut self, path: &str, content: &[u8], made: Option<u64>) -> Result<(), SaveError> {
        let mut header = header(content.len() as u64, made);
        self.tar.append_data(&mut header, Path::new(path), content).map_err(SaveError::Write)
    }
}

struct Counted<'a, W> {
    out: &'a mut W,
    written: u64,
    hasher: Option<Hasher>,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.written += written as u64;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes[..written]);
        }
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

fn header(size: u64, made: Option<u64>) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(made.unwrap_or_default());
    header
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn to_json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("a tree of strings and numbers always prints")
}

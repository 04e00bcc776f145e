//! What a manifest or an index leads to, and how much of it could go out as it came in.

use std::io;
use std::sync::Arc;

use oci::{Descriptor, Digest, Document};

use super::Kept;
use crate::image::ImageId;
use crate::layer::{COMPRESSOR, Layer};
use crate::state::Content;
use crate::store::Inner;

/// How deep indexes may lie in indexes, with the manifest.
pub(crate) const DEPTH_MAX: usize = 3;

/// A document that is here, with what it leads to.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) descriptor: Descriptor,
    /// The document as it came.
    pub(crate) kept: Kept,
    pub(crate) document: Document,
    pub(crate) parts: Vec<Part>,
}

/// What a document leads to.
#[derive(Debug)]
pub(crate) enum Part {
    /// A document, in an index.
    Tree(Tree),
    /// Content, in a manifest.
    Leaf(Descriptor, Leaf),
    /// A document that is not here.
    Missing(Descriptor),
}

/// How to come by content that a manifest names.
#[derive(Debug)]
pub(crate) enum Leaf {
    /// It is here as a blob.
    Blob,
    /// It is the archive of a layer that is unpacked here.
    Archive(Layer),
    /// It is what the layer's archive was compressed to here once.
    Compressed(Layer),
    /// It is a layer that is here, in a form that is not.
    Layer,
    /// It is not here.
    Missing,
}

impl Leaf {
    /// Whether it can be given as it came, without asking anybody.
    pub(crate) fn is_exact(&self) -> bool {
        !matches!(self, Leaf::Layer | Leaf::Missing)
    }
}

impl Tree {
    /// Reads the document `content` and what it leads to. `None` if it is not here, or what lies there is
    /// not what was said.
    pub(crate) fn read(inner: &Arc<Inner>, content: &Content) -> io::Result<Option<Self>> {
        Self::read_at(inner, &content.descriptor(), 1)
    }

    fn read_at(inner: &Arc<Inner>, descriptor: &Descriptor, depth: usize) -> io::Result<Option<Self>> {
        let kept = match inner.blob_read(&descriptor.digest) {
            Ok(kept) => kept,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(document) = Document::parse_at(kept.bytes(), descriptor) else { return Ok(None) };
        let parts = match &document {
            Document::Manifest(manifest) => {
                let id = ImageId(manifest.config.digest.clone());
                let chain_ids = match inner.tables().images.get(&id) {
                    Some(record) if record.layers.len() == manifest.layers.len() => record.layers.clone(),
                    _ => Vec::new(),
                };
                let mut parts =
                    vec![Part::Leaf(manifest.config.clone(), leaf(inner, &manifest.config, None))];
                for (at, layer) in manifest.layers.iter().enumerate() {
                    parts.push(Part::Leaf(layer.clone(), leaf(inner, layer, chain_ids.get(at))));
                }
                parts
            }
            Document::Index(_) if depth >= DEPTH_MAX => return Ok(None),
            Document::Index(index) => {
                let part = |entry: &Descriptor| {
                    let tree = Self::read_at(inner, entry, depth + 1)?;
                    Ok(tree.map_or_else(|| Part::Missing(entry.clone()), Part::Tree))
                };
                index.manifests.iter().map(part).collect::<io::Result<_>>()?
            }
        };
        Ok(Some(Self { descriptor: descriptor.clone(), kept, document, parts }))
    }

    /// The manifest of an image, if this is it or leads to it.
    pub(crate) fn manifest_of(&self, id: &ImageId) -> Option<&Tree> {
        match &self.document {
            Document::Manifest(manifest) => (manifest.config.digest == id.0).then_some(self),
            Document::Index(_) => self.trees().find_map(|tree| tree.manifest_of(id)),
        }
    }

    /// The documents in an index that are here.
    pub(crate) fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.parts.iter().filter_map(|part| match part {
            Part::Tree(tree) => Some(tree),
            _ => None,
        })
    }

    /// The content that a manifest names.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = (&Descriptor, &Leaf)> {
        self.parts.iter().filter_map(|part| match part {
            Part::Leaf(descriptor, leaf) => Some((descriptor, leaf)),
            _ => None,
        })
    }

    /// Whether a manifest, with all that it names, can be given as it came.
    pub(crate) fn is_exact(&self) -> bool {
        self.leaves().all(|(_, leaf)| leaf.is_exact())
    }
}

/// How to come by content that a manifest names; `chain_id` is that of the layer that it should be.
pub(crate) fn leaf(inner: &Arc<Inner>, wanted: &Descriptor, chain_id: Option<&Digest>) -> Leaf {
    if inner.blob_len(&wanted.digest) == Some(wanted.size) {
        return Leaf::Blob;
    }
    let Some(layer) = chain_id.and_then(|chain_id| Layer::hold(inner, chain_id)) else {
        return Leaf::Missing;
    };
    if *layer.diff_id() == wanted.digest {
        return Leaf::Archive(layer);
    }
    let made_here = {
        let tables = inner.tables();
        let record = tables.layer(layer.chain_id());
        record.is_some_and(|record| {
            record.origins.iter().any(|origin| {
                origin.digest == wanted.digest && origin.compressor.as_deref() == Some(COMPRESSOR)
            })
        })
    };
    if made_here { Leaf::Compressed(layer) } else { Leaf::Layer }
}

//! Layers as blobs: compressed, or not, as manifests name them.
//!
//! A layer of the store is unpacked files. Whoever hands it on, in a manifest, an archive or a cache, wants a
//! blob of it, with digest and length, before the first byte. [`Store::layer_blob`] gives one: the form in which the
//! layer came, if that is kept and nothing speaks against it, or one that is made here. What is made is the same,
//! bit for bit, whenever and wherever it is made of the same layer.

mod clamp;

use std::fs::File;
use std::io::{self, Read, Write};
use std::str::FromStr;
use std::sync::Arc;

use base::Timestamp;
use base::cancel::Cancel;
use oci::{Descriptor, Digest, Hasher, media_type};

use crate::content::{Leaf, Lease, StagedBlob, Tree};
use crate::error::Kind;
use crate::image::ImageId;
use crate::layer::settle::record_rewrite;
use crate::layer::{Compressor, Hashed, Layer, LayerError};
use crate::state::{Content, Origin};
use crate::store::{Inner, Store};
use clamp::Clamp;

/// Forms made here that are remembered of a layer; the oldest is forgotten.
const FORMS_MAX: usize = 8;
/// Images whose manifests are asked for a form of a layer.
const DOCUMENTS_MAX: usize = 8;

/// How the blob of a layer is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compression {
    /// What every registry and engine reads.
    #[default]
    Gzip,
    /// In frames of 4 MiB; there is one level of it.
    Zstd,
    /// The archive as it is.
    Uncompressed,
}

/// What is no [`Compression`] that is done here.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("unsupported layer compression type {0}")]
pub struct ParseCompressionError(String);

/// Whose names documents and layers have in a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MediaTypes {
    /// Docker's. Where it has none (zstd), OCI's.
    #[default]
    Docker,
    /// OCI's.
    Oci,
}

/// How a layer becomes a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packing {
    /// How it is compressed, if it is made here.
    pub compression: Compression,
    /// How hard: 0 to 9 for gzip, without effect for the others. The library's own (6) where nothing is said.
    pub level: Option<i32>,
    /// A form in which the layer came is not taken, unless it is compressed in this way and at no other level.
    pub force: bool,
    /// The latest time that files in it may have (`SOURCE_DATE_EPOCH`). Another layer comes out where one is later.
    pub epoch: Option<Timestamp>,
    /// Whose names are used.
    pub types: MediaTypes,
}

/// A layer as a blob. What it is made of stays while this is held.
#[derive(Debug)]
pub struct Packed {
    inner: Arc<Inner>,
    layer: Layer,
    descriptor: Descriptor,
    diff_id: Digest,
    is_blob: bool,
    lease: Lease,
}

/// Why a layer did not become a blob.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// There is no such level.
    #[error("invalid compression level: {0}")]
    Level(i32),
    /// The layer could not be read, or the blob not be written.
    #[error("make a blob of layer {diff_id}")]
    Io {
        /// The layer.
        diff_id: Digest,
        /// What went wrong.
        source: io::Error,
    },
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "uncompressed" => Ok(Self::Uncompressed),
            _ => Err(ParseCompressionError(text.to_owned())),
        }
    }
}

impl Compression {
    /// How a layer of this type is compressed, if that is known.
    fn of(layer_type: &str) -> Option<Self> {
        match media_type::layer_as_oci(layer_type) {
            media_type::OCI_LAYER => Some(Self::Uncompressed),
            media_type::OCI_LAYER_GZIP => Some(Self::Gzip),
            media_type::OCI_LAYER_ZSTD => Some(Self::Zstd),
            _ => None,
        }
    }
}

impl MediaTypes {
    /// The type of a layer that is called `layer_type` elsewhere.
    fn layer(self, layer_type: &str) -> &str {
        let oci = media_type::layer_as_oci(layer_type);
        match self {
            Self::Oci => oci,
            Self::Docker => media_type::layer_as_docker(oci).unwrap_or(oci),
        }
    }
}

impl PackError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Level(_) => Kind::Invalid,
            Self::Io { source, .. } => Kind::of_io(source),
        }
    }
}

impl Packing {
    fn compressor(&self) -> Result<Compressor, PackError> {
        Ok(match self.compression {
            Compression::Gzip => match self.level {
                None => Compressor::default(),
                Some(level @ 0..=9) => Compressor::Gzip(level.unsigned_abs()),
                Some(level) => return Err(PackError::Level(level)),
            },
            Compression::Zstd => Compressor::Zstd,
            Compression::Uncompressed => Compressor::None,
        })
    }

    /// The type of a layer that is packed here.
    fn layer_type(&self) -> &str {
        self.types.layer(match self.compression {
            Compression::Gzip => media_type::OCI_LAYER_GZIP,
            Compression::Zstd => media_type::OCI_LAYER_ZSTD,
            Compression::Uncompressed => media_type::OCI_LAYER,
        })
    }

    /// Whether a form in which the layer came will do.
    fn takes(&self, origin: &Origin) -> bool {
        match Compression::of(&origin.media_type) {
            // Not to be given on, or of a sort that nobody here knows.
            None => false,
            Some(_) if !self.force => true,
            Some(compression) => compression == self.compression && self.level.is_none(),
        }
    }
}

impl Packed {
    /// The blob: its type, digest and length.
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The digest of the archive in it: the layer's own, unless times in it were changed.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// The layer that it is of.
    pub fn layer(&self) -> &Layer {
        &self.layer
    }

    /// Writes the blob, and checks that it is what its digest says.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<()> {
        let digest = &self.descriptor.digest;
        if !self.is_blob {
            return self.layer.write_archive(out);
        }
        let mut file = File::open(self.inner.blob_path(digest))?;
        let (mut hasher, mut buffer) = (digest.algorithm().hasher(), vec![0; 256 * 1024]);
        loop {
            let got = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..got]);
            out.write_all(&buffer[..got])?;
        }
        digest.expect(hasher.finish()).map_err(|error| {
            // The next time it is made anew.
            self.inner.blob_condemn(digest);
            io::Error::new(io::ErrorKind::InvalidData, error)
        })
    }

    /// Makes sure that the blob is there as such, so that it outlives its layer wherever a document leads to it.
    pub fn make_blob(&mut self, cancel: &Cancel) -> Result<(), PackError> {
        if self.is_blob {
            return Ok(());
        }
        let digest = self.descriptor.digest.clone();
        self.lease.content([digest.clone()]);
        let stored = (|| {
            let mut staged = Staged { blob: StagedBlob::new(&self.inner, &digest)?, cancel };
            self.layer.write_archive(&mut staged)?;
            staged.blob.keep(&self.inner, &digest)
        })();
        stored.map_err(pack_error(&self.layer))?;
        self.is_blob = true;
        Ok(())
    }
}

impl Store {
    /// A layer as a blob; where one has to be made it is written beside the layers, and goes when nothing leads to it
    /// and nobody holds it. Given up soon after `cancel` was set.
    pub fn layer_blob(&self, layer: &Layer, packing: &Packing, cancel: &Cancel) -> Result<Packed, PackError> {
        let inner = &self.inner;
        let compressor = packing.compressor()?;
        let missing = || pack_error(layer)(io::ErrorKind::NotFound.into());
        let mut packed = Packed {
            inner: inner.clone(),
            layer: self.layer_hold(layer.chain_id()).ok_or_else(missing)?,
            descriptor: Descriptor::new("", layer.diff_id().clone(), 0),
            diff_id: layer.diff_id().clone(),
            is_blob: false,
            lease: Lease::new(inner),
        };
        match packing.epoch {
            Some(epoch) => {
                packed
                    .rewritten(packing, compressor, epoch.as_second(), cancel)
                    .map_err(pack_error(layer))?;
            }
            None if packed.found(packing, compressor) => {}
            None => packed.made(packing, compressor, cancel).map_err(pack_error(layer))?,
        }
        Ok(packed)
    }
}

impl Store {
    /// The layer that is in a blob, on top of `parent`: unpacked, if it is not here.
    pub fn layer_of_packed(
        &self,
        parent: Option<&Layer>,
        packed: &Packed,
        cancel: &Cancel,
    ) -> Result<Layer, LayerError> {
        if packed.diff_id == *packed.layer.diff_id() {
            return self.layer_stack_on(parent, &packed.layer, cancel);
        }
        if let Some(layer) = self.layer_place(parent, &packed.diff_id)? {
            return Ok(layer);
        }
        let blob = File::open(self.inner.blob_path(&packed.descriptor.digest)).map_err(LayerError::Read)?;
        self.layer_unpack(parent.map(Layer::chain_id), blob)
    }
}

impl Packed {
    /// Takes a form that is there: one in which the layer came, or that was made of it before.
    fn found(&mut self, packing: &Packing, compressor: Compressor) -> bool {
        let (origins, archive_size) = match self.inner.tables().layer(self.layer.chain_id()) {
            Some(record) => (record.origins.clone(), record.archive_size),
            None => return false,
        };
        let made_so = |origin: &Origin| origin.compressor == compressor.name();
        let (came, made): (Vec<Origin>, Vec<Origin>) =
            origins.into_iter().partition(|origin| origin.compressor.is_none());
        let came = came.iter().filter(|origin| packing.takes(origin));
        let made_alike = made.iter().filter(|origin| made_so(origin));
        if came.chain(made_alike).any(|origin| self.take(packing, origin)) {
            return true;
        }
        // What was made here and is named by the manifest of an image here did not come.
        let came =
            |origin: &Origin| packing.takes(origin) && made.iter().all(|made| made.digest != origin.digest);
        if self.documented().iter().any(|origin| came(origin) && self.take(packing, origin)) {
            return true;
        }
        if packing.compression == Compression::Uncompressed {
            self.descriptor =
                Descriptor::new(packing.layer_type(), self.layer.diff_id().clone(), archive_size);
            return true;
        }
        false
    }

    /// Takes a form, if it is there.
    fn take(&mut self, packing: &Packing, form: &Origin) -> bool {
        // Held before it is looked for, so that it does not go in between.
        let mut lease = Lease::new(&self.inner);
        lease.content([form.digest.clone()]);
        let is_there = self.inner.blob_len(&form.digest) == Some(form.size);
        if is_there {
            let of = packing.types.layer(&form.media_type);
            self.descriptor = Descriptor::new(of, form.digest.clone(), form.size);
            (self.is_blob, self.lease) = (true, lease);
        }
        is_there
    }

    /// The forms in which manifests of images name the layer.
    fn documented(&self) -> Vec<Origin> {
        let chain_id = self.layer.chain_id();
        let images: Vec<(ImageId, usize, Content)> = {
            let tables = self.inner.tables();
            let of = tables.images.iter().filter_map(|(id, record)| {
                let at = record.layers.iter().position(|layer| layer == chain_id)?;
                Some((id.clone(), at, record.source.clone()?))
            });
            of.take(DOCUMENTS_MAX).collect()
        };
        let form = |(id, at, source): (ImageId, usize, Content)| {
            let tree = Tree::read(&self.inner, &source).ok().flatten()?;
            let (descriptor, leaf) = tree.manifest_of(&id)?.leaves().nth(at + 1)?;
            matches!(leaf, Leaf::Blob).then(|| Origin {
                digest: descriptor.digest.clone(),
                size: descriptor.size,
                media_type: descriptor.media_type.clone(),
                repository: String::new(),
                compressor: None,
            })
        };
        images.into_iter().filter_map(form).collect()
    }

    /// Compresses the layer.
    fn made(&mut self, packing: &Packing, compressor: Compressor, cancel: &Cancel) -> io::Result<()> {
        let staged = StagedBlob::anew(&self.inner)?;
        let mut compressing = compressor.onto(Staged { blob: staged, cancel });
        self.layer.write_archive(&mut compressing)?;
        let staged = compressing.finish()?.blob;
        self.settle(staged, packing)?;
        self.remember(compressor);
        Ok(())
    }

    /// Compresses the layer with other times in it.
    fn rewritten(
        &mut self,
        packing: &Packing,
        compressor: Compressor,
        epoch: i64,
        cancel: &Cancel,
    ) -> io::Result<()> {
        let staged = StagedBlob::anew(&self.inner)?;
        let compressing = compressor.onto(Staged { blob: staged, cancel });
        let mut clamp = Clamp::new(Hashed { out: compressing, hasher: Hasher::sha256() }, epoch);
        self.layer.write_archive(&mut clamp)?;
        let hashed = clamp.finish()?;
        let diff_id = hashed.hasher.finish();
        if diff_id == self.diff_id && self.found(packing, compressor) {
            // Nothing in it was that late.
            return Ok(());
        }
        let staged = hashed.out.finish()?.blob;
        self.settle(staged, packing)?;
        if diff_id == self.diff_id {
            self.remember(compressor);
        }
        self.diff_id = diff_id;
        Ok(())
    }

    /// Gives what was written its place.
    fn settle(&mut self, staged: StagedBlob, packing: &Packing) -> io::Result<()> {
        let size = staged.size();
        let lease = &mut self.lease;
        let digest = staged.keep_as(&self.inner, |digest| lease.content([digest.clone()]))?;
        self.descriptor = Descriptor::new(packing.layer_type(), digest, size);
        self.is_blob = true;
        Ok(())
    }

    /// Remembers what the layer was compressed to. Losing this costs doing it again, so failure is no error, and
    /// nobody waits for the disk.
    fn remember(&self, compressor: Compressor) {
        let form = Origin {
            digest: self.descriptor.digest.clone(),
            size: self.descriptor.size,
            media_type: self.descriptor.media_type.clone(),
            repository: String::new(),
            compressor: compressor.name(),
        };
        if form.compressor.is_none() {
            return;
        }
        let mut tables = self.inner.tables();
        let Some(record) = tables.layer_mut(self.layer.chain_id()) else { return };
        if record.origins.contains(&form) {
            return;
        }
        let is_own = |origin: &Origin| origin.repository.is_empty() && origin.compressor.is_some();
        if record.origins.iter().filter(|origin| is_own(origin)).count() >= FORMS_MAX
            && let Some(oldest) = record.origins.iter().position(is_own)
        {
            record.origins.remove(oldest);
        }
        record.origins.push(form);
        let directory = self.inner.layer_dir(self.layer.chain_id());
        if let Err(error) = offload::in_place(|| record_rewrite(&directory, record)) {
            tracing::debug!(%error, "what a layer was compressed to could not be remembered");
        }
    }
}

fn pack_error(layer: &Layer) -> impl FnOnce(io::Error) -> PackError {
    let diff_id = layer.diff_id().clone();
    move |source| PackError::Io { diff_id, source }
}

/// Writes as long as somebody wants it.
struct Staged<'a> {
    blob: StagedBlob,
    cancel: &'a Cancel,
}

impl Write for Staged<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cancel.check()?;
        self.blob.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

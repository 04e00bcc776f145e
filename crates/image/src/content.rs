//! Content by digest, byte for byte as it came: configurations, manifests, indexes, compressed layers.
//!
//! What always holds:
//!
//! - A blob has its name only after its bytes were verified by it, and is never written again.
//! - A blob is kept as long as something leads to it: a name, an image, a [`Lease`], through manifests and
//!   indexes. What nothing leads to any more goes with what led to it ([`Inner::content_sweep`]), and when
//!   the store opens.
//! - What a document leads to need not be here: of an index only what was wanted is.

mod lease;
mod stage;
mod tree;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use oci::digest::Algorithm;
use oci::{Digest, Document};

pub(crate) use lease::Lease;
pub(crate) use stage::{BlobFile, StagedBlob};
pub(crate) use tree::{DEPTH_MAX, Leaf, Part, Tree};

use crate::state::LayerRecord;
use crate::store::{Inner, Tables, WriteError};

/// What becomes of the compressed form in which a layer comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Blobs {
    /// It is kept beside the unpacked files, so that an image goes out as it came in.
    #[default]
    Keep,
    /// It is dropped, and made again when a registry wants the layer: mostly another one, under another
    /// digest, and so is the image's manifest then.
    Remake,
}

/// What is no [`Blobs`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{0}` is neither `keep` nor `remake`")]
pub struct ParseBlobsError(String);

impl FromStr for Blobs {
    type Err = ParseBlobsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "keep" => Ok(Blobs::Keep),
            "remake" => Ok(Blobs::Remake),
            _ => Err(ParseBlobsError(text.to_owned())),
        }
    }
}

/// A document that is going to be kept: its digest was verified.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) digest: Digest,
    pub(crate) bytes: Vec<u8>,
}

impl Kept {
    /// What it leads to; nothing where it is no manifest and no index.
    pub(crate) fn links(&self) -> Vec<Digest> {
        match Document::parse(&self.bytes, None) {
            Ok(document) => document.links().into_iter().map(|link| link.digest.clone()).collect(),
            Err(_) => Vec::new(),
        }
    }
}

impl Inner {
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        crate::store::blob_path(&self.root, digest)
    }

    /// Stores a document whose digest was verified: on disk when this returns, or, with `later`, after the
    /// next flush of the file system.
    pub(crate) fn blob_put(&self, digest: &Digest, content: &[u8], later: bool) -> Result<(), WriteError> {
        let path = self.blob_path(digest);
        // A power cut may have left it empty.
        let is_there = fs::read(&path).is_ok_and(|found| found == content);
        let written = match (is_there, later) {
            (true, true) => Ok(()),
            (true, false) => File::open(&path).and_then(|file| file.sync_all()),
            (false, true) => base::fs::write_atomic_unsynced(&path, content, 0o600),
            (false, false) => base::fs::write_atomic(&path, content, 0o600),
        };
        written.map_err(WriteError::io(&path))
    }

    /// Reads a document that was stored, and checks that it is still what it was.
    pub(crate) fn blob_read(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        let bytes = base::record::read_plain(&self.blob_path(digest))?;
        match digest.verify(&bytes) {
            Ok(()) => Ok(bytes),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// The size of a blob that is here.
    pub(crate) fn blob_len(&self, digest: &Digest) -> Option<u64> {
        let metadata = fs::metadata(self.blob_path(digest)).ok()?;
        metadata.is_file().then_some(metadata.len())
    }

    /// Bytes of all layers, each counted once, and of the blobs that are no documents.
    pub(crate) fn content_size(&self, tables: &Tables) -> u64 {
        let mut seen = BTreeSet::new();
        let own = |layer: &&LayerRecord| layer.files.as_ref().is_none_or(|files| seen.insert(files.clone()));
        let mut size: u64 = tables.layers().filter(own).map(|layer| layer.size).sum();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.root.join("blobs").join(algorithm.as_str());
            for path in base::fs::entries(&directory).unwrap_or_default() {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let digest = Digest::parse(&format!("{}:{name}", algorithm.as_str()));
                if digest.is_ok_and(|digest| !tables.is_document(&digest)) {
                    size += fs::metadata(&path).map_or(0, |blob| blob.len());
                }
            }
        }
        size
    }

    /// Takes away those of `candidates`, with what they lead to, that nothing else leads to.
    pub(crate) fn content_sweep(&self, tables: &mut Tables, candidates: impl IntoIterator<Item = Digest>) {
        let gone = tables.reach(candidates);
        if gone.is_empty() {
            return;
        }
        let used = tables.reached();
        for digest in gone.difference(&used) {
            if let Err(error) = fs::remove_file(self.blob_path(digest))
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%digest, %error, "content that nothing needs could not be removed");
            }
            tables.document_forget(digest);
        }
    }
}

impl Tables {
    /// Everything that something needs.
    pub(crate) fn reached(&self) -> BTreeSet<Digest> {
        let images = self.images.iter().flat_map(|(id, record)| {
            std::iter::once(&id.0).chain(record.source.as_ref().map(|source| &source.digest))
        });
        let names = self.names.values().filter_map(|named| Some(&named.target.as_ref()?.digest));
        let leases = self.leases.values().flat_map(|lease| &lease.content);
        self.reach(images.chain(names).chain(self.pinned()).chain(leases).cloned())
    }
}

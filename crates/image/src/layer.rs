//! Layers: made from archives or from what a container changed.

use std::io::{self, Read};
use std::path::PathBuf;

use oci::Digest;

use crate::error::Kind;
use crate::store::Store;

/// A layer in the store. While it is held it is not collected.
#[derive(Debug)]
pub struct Layer {
    chain_id: Digest,
    diff_id: Digest,
    size: u64,
}

/// Why a layer could not be unpacked or made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The archive could not be read: it is cut off or malformed.
    #[error("read layer archive")]
    Read(#[source] io::Error),
    /// An entry would land outside the layer's root.
    #[error("layer entry `{}` leaves the layer's root", path.display())]
    Escape {
        /// The entry's name in the archive.
        path: PathBuf,
    },
    /// An entry is of a kind that no root file system has.
    #[error("layer entry `{}` has unsupported type {kind:?}", path.display())]
    EntryType {
        /// The entry's name in the archive.
        path: PathBuf,
        /// The type byte of its header.
        kind: char,
    },
    /// A hard link's target is not there.
    #[error("layer entry `{}` links to `{}`, which is not there", path.display(), target.display())]
    LinkTarget {
        /// The entry's name in the archive.
        path: PathBuf,
        /// What it links to.
        target: PathBuf,
    },
    /// An entry could not be made on disk.
    #[error("unpack layer entry `{}`", path.display())]
    Entry {
        /// The entry's name in the archive.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The content is not what its digest promised.
    #[error("verify layer")]
    Mismatch(#[from] oci::digest::Mismatch),
    /// The layer to build on is not in the store.
    #[error("layer {0} is not in the store")]
    MissingParent(Digest),
    /// The store's own files could not be written.
    #[error("store layer at {}", path.display())]
    Store {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl Layer {
    /// The layer's place: what it is and all that it lies on.
    pub fn chain_id(&self) -> &Digest {
        &self.chain_id
    }

    /// The digest of the layer's uncompressed archive.
    pub fn diff_id(&self) -> &Digest {
        &self.diff_id
    }

    /// Bytes of the files in it.
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl LayerError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            LayerError::Entry { source, .. } | LayerError::Store { source, .. } => Kind::of_io(source),
            _ => Kind::Invalid,
        }
    }
}

impl Store {
    /// Unpacks a layer archive (plain, gzip or zstd) on top of the layer `parent`.
    pub fn layer_unpack(
        &self,
        parent: Option<&Digest>,
        archive: impl Read + Send,
    ) -> Result<Layer, LayerError> {
        let _ = (parent, archive);
        todo!()
    }
}

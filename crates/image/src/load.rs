//! Images from and to archives: load, save, import.

mod layout;
mod read;
mod write;

pub(crate) use read::looks_like_tar;

use std::io::{self, Read, Write};

use oci::{ContainerConfig, Platform, Reference};

use crate::error::Kind;
use crate::image::{FindError, Image, ImageId, NewImage};
use crate::layer::LayerError;
use crate::progress::Progress;
use crate::store::{Store, WriteError};

/// An image that came out of an archive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
}

/// What becomes of an imported root file system.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// The name to give it.
    pub name: Option<Reference>,
    /// A message for the history.
    pub message: String,
    /// How containers run.
    pub config: ContainerConfig,
    /// The platform; without one the host's.
    pub platform: Option<Platform>,
}

/// Why an archive could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive is cut off or is no tar archive.
    #[error("read image archive")]
    Read(#[source] io::Error),
    /// The archive is readable, but no image archive.
    #[error("not an image archive: {0}")]
    Shape(String),
    /// A document in it cannot be understood.
    #[error("read `{path}` in the image archive")]
    Document {
        /// Its path in the archive.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A configuration in it holds more than is taken.
    #[error("read `{path}` in the image archive")]
    TooMuch {
        /// Its path in the archive.
        path: String,
        /// What it has too much of.
        source: oci::TooMuch,
    },
    /// A layer in it cannot be unpacked.
    #[error("unpack `{path}` in the image archive")]
    Layer {
        /// Its path in the archive.
        path: String,
        /// What went wrong.
        source: LayerError,
    },
    /// Content is not what its digest promised.
    #[error("verify `{path}` in the image archive")]
    Mismatch {
        /// Its path in the archive.
        path: String,
        /// What was promised and what came.
        source: oci::digest::Mismatch,
    },
    /// The image could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a root file system could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The archive cannot be unpacked.
    #[error("unpack the root file system")]
    Layer(#[from] LayerError),
    /// The image could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why images could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// A layer cannot be put together again.
    #[error("read layer {digest}")]
    Layer {
        /// The layer's diff id.
        digest: oci::Digest,
        /// What went wrong.
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("write image archive")]
    Write(#[source] io::Error),
}

impl LoadError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            LoadError::Layer { source, .. } => source.kind(),
            LoadError::Write(error) => error.kind(),
            _ => Kind::Invalid,
        }
    }
}

impl ImportError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            ImportError::Layer(error) => error.kind(),
            ImportError::Write(error) => error.kind(),
        }
    }
}

impl SaveError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            SaveError::Find(error) => error.kind(),
            SaveError::Layer { .. } | SaveError::Write(_) => Kind::Internal,
        }
    }
}

impl Store {
    /// Loads all images of an archive: `docker save`'s or an OCI layout, plain or compressed.
    /// All or nothing: an archive that fails in the middle leaves nothing behind.
    pub fn image_load(
        &self,
        archive: impl Read + Send,
        progress: &Progress,
    ) -> Result<Vec<Loaded>, LoadError> {
        read::load(&self.inner, archive, None, progress)
    }

    /// As [`Store::image_load`], of the images that are for a platform.
    pub fn image_load_for(
        &self,
        archive: impl Read + Send,
        platform: &Platform,
        progress: &Progress,
    ) -> Result<Vec<Loaded>, LoadError> {
        read::load(&self.inner, archive, Some(platform), progress)
    }

    /// Writes an archive that Docker and OCI tools load. `names` are names, ids, or repositories
    /// without tag, which stand for all their tags.
    pub fn image_save(&self, names: &[String], archive: impl Write) -> Result<(), SaveError> {
        write::save(&self.inner, names, archive)
    }

    /// Makes an image of one layer from the archive of a root file system.
    pub fn image_import(
        &self,
        archive: impl Read + Send,
        options: ImportOptions,
    ) -> Result<Image, ImportError> {
        let layer = self.layer_import(archive)?;
        let created = self.inner.clock.now();
        let new = NewImage {
            layer: Some(layer),
            comment: options.message,
            platform: options.platform,
            name: options.name,
            ..NewImage::on(None, options.config, created, "")
        };
        Ok(self.image_create(new)?)
    }
}

//! Images as they are looked up, listed, named and made.

use std::fmt;
use std::io;
use std::sync::Arc;

use base::Timestamp;
use oci::reference::ParseReferenceError;
use oci::{ContainerConfig, Digest, ImageConfig, Platform, Reference};

use crate::error::Kind;
use crate::layer::Layer;
use crate::store::{Store, WriteError};

/// Names an image: the digest of its configuration, as Docker's classic store has it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// The digest of the configuration.
    pub id: ImageId,
    /// The configuration.
    pub config: Arc<ImageConfig>,
    /// Names with tags, sorted.
    pub tags: Vec<Reference>,
    /// Names with the digests of manifests in registries, sorted.
    pub digests: Vec<Reference>,
    /// Chain ids of the layers, lowest first.
    pub layers: Vec<Digest>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// The image that a build or commit began from, if it was made here.
    pub parent: Option<ImageId>,
    /// When a name was last given to it here.
    pub tagged_at: Option<Timestamp>,
}

/// One line of an image's history, newest first.
#[derive(Clone, Debug)]
pub struct HistoryEntry {
    /// The image as of this step, where it is in the store.
    pub id: Option<ImageId>,
    /// When, as written in the configuration.
    pub created: Option<String>,
    /// The command or instruction.
    pub created_by: String,
    /// A message.
    pub comment: String,
    /// Bytes that the step's layer holds.
    pub size: u64,
    /// Names of the image as of this step.
    pub tags: Vec<Reference>,
}

/// An image to be made on top of another, or of nothing.
#[derive(Debug)]
pub struct NewImage {
    /// The image to begin from.
    pub parent: Option<ImageId>,
    /// The layer to add; none for a change of the configuration only.
    pub layer: Option<Layer>,
    /// How containers run: the whole of it, not a difference.
    pub config: ContainerConfig,
    /// When the image is made.
    pub created: Timestamp,
    /// The instruction or command, for the history.
    pub created_by: String,
    /// A message for the history.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// The platform; without one the parent's, or the host's.
    pub platform: Option<Platform>,
    /// The name to give it.
    pub name: Option<Reference>,
}

/// Why an image could not be found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// No image has this name or id.
    #[error("no such image: {name}")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// Several images' ids begin like this.
    #[error("image id prefix {prefix} is ambiguous")]
    Ambiguous {
        /// The beginning of an id.
        prefix: String,
    },
    /// It can be no name.
    #[error("look up image `{name}`")]
    Name {
        /// What was asked for.
        name: String,
        /// What is wrong with it.
        source: ParseReferenceError,
    },
    /// The store's own files could not be read.
    #[error("read configuration of image {id}")]
    Read {
        /// The image.
        id: Digest,
        /// What went wrong.
        source: io::Error,
    },
}

impl ImageId {
    /// The first twelve digits, as listings show them.
    pub fn short(&self) -> &str {
        self.0.short()
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NewImage {
    /// An image like its parent, which says what it was made by.
    pub fn on(
        parent: Option<ImageId>,
        config: ContainerConfig,
        created: Timestamp,
        created_by: &str,
    ) -> Self {
        Self {
            parent,
            layer: None,
            config,
            created,
            created_by: created_by.to_owned(),
            comment: String::new(),
            author: String::new(),
            platform: None,
            name: None,
        }
    }
}

impl FindError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            FindError::NotFound { .. } => Kind::NotFound,
            FindError::Ambiguous { .. } => Kind::Conflict,
            FindError::Name { .. } => Kind::Invalid,
            FindError::Read { source, .. } => Kind::of_io(source),
        }
    }
}

impl Store {
    /// All images, newest first. Intermediate images of builds are among them: those have a child
    /// and no name.
    pub fn image_list(&self) -> Vec<Image> {
        todo!()
    }

    /// Finds an image by name, by name with digest, by id or by the beginning of an id.
    pub fn image_get(&self, name: &str) -> Result<Image, FindError> {
        let _ = name;
        todo!()
    }

    /// The images whose parent is `id`.
    pub fn image_children(&self, id: &ImageId) -> Vec<ImageId> {
        let _ = id;
        todo!()
    }

    /// The history of an image, newest step first.
    pub fn image_history(&self, name: &str) -> Result<Vec<HistoryEntry>, FindError> {
        let _ = name;
        todo!()
    }

    /// Gives the image `source` the name `target`, with the tag `latest` unless it has one.
    /// The name is taken from the image that had it.
    pub fn image_tag(&self, source: &str, target: &Reference) -> Result<Image, WriteError> {
        let _ = (source, target);
        todo!()
    }

    /// Makes an image.
    pub fn image_create(&self, new: NewImage) -> Result<Image, WriteError> {
        let _ = new;
        todo!()
    }
}

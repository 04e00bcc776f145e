//! Taking images away: untag, delete, prune, and what the disk holds.

use std::collections::HashSet;

use oci::Reference;

use crate::error::Kind;
use crate::image::{FindError, Image, ImageId};
use crate::store::{Store, WriteError};

/// How an image is to be removed.
#[derive(Clone, Debug, Default)]
pub struct RemoveOptions {
    /// Remove all names, and remove even if a stopped container uses the image.
    pub force: bool,
    /// Keep parents that are left without name and child.
    pub keep_parents: bool,
    /// Images of running containers: never removed.
    pub running: HashSet<ImageId>,
    /// Images of containers that do not run: removed only by force.
    pub stopped: HashSet<ImageId>,
}

/// One thing that was taken away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Removal {
    /// A name.
    Untagged(Reference),
    /// An image.
    Deleted(ImageId),
}

/// Why an image is not removed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Conflict {
    /// A running container uses it.
    #[error("image {} is being used by a running container", .0.short())]
    Running(ImageId),
    /// A stopped container uses it.
    #[error("image {} is being used by a stopped container (must force)", .0.short())]
    Stopped(ImageId),
    /// It was named by id and has names in several repositories.
    #[error("image {} is referenced in multiple repositories (must force)", .0.short())]
    ManyNames(ImageId),
    /// Another image was made from it.
    #[error("image {} has dependent child images", .0.short())]
    Children(ImageId),
}

/// Why an image could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such image.
    #[error(transparent)]
    Find(#[from] FindError),
    /// Something needs it.
    #[error("unable to remove `{name}`")]
    Conflict {
        /// What was asked for.
        name: String,
        /// What needs it.
        source: Conflict,
    },
    /// The change could not be stored.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What a prune took away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pruned {
    /// Names and images.
    pub removed: Vec<Removal>,
    /// Bytes given back.
    pub reclaimed: u64,
}

/// What the store holds on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiskUsage {
    /// Bytes of all layers, each counted once.
    pub layers: u64,
    /// For each image the bytes that it shares with others.
    pub shared: Vec<(ImageId, u64)>,
}

impl RemoveError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            RemoveError::Find(error) => error.kind(),
            RemoveError::Conflict { .. } => Kind::Conflict,
            RemoveError::Write(error) => error.kind(),
        }
    }
}

impl Store {
    /// Removes a name, and the image with its last name; by id, the image with its names.
    pub fn image_remove(&self, name: &str, options: &RemoveOptions) -> Result<Vec<Removal>, RemoveError> {
        let _ = (name, options);
        todo!()
    }

    /// Removes every image that `wanted` lets go and nothing else needs. With `unnamed_only`, named
    /// images stay, whatever `wanted` says.
    pub fn image_prune(
        &self,
        unnamed_only: bool,
        in_use: &HashSet<ImageId>,
        wanted: impl Fn(&Image) -> bool,
    ) -> Result<Pruned, RemoveError> {
        let _ = (unnamed_only, in_use, wanted);
        todo!()
    }

    /// What the images take on disk.
    pub fn disk_usage(&self) -> DiskUsage {
        todo!()
    }
}

//! Snapshots: the writable layers of containers.

use std::io;
use std::path::PathBuf;

use oci::Digest;

use crate::error::Kind;
use crate::image::{FindError, ImageId};
use crate::layer::{Layer, LayerError};
use crate::store::Store;

/// Where a container's root file system lies, as overlayfs takes it.
///
/// The paths are short enough for 127 layers to fit the page that mount options have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Read-only directories, topmost first, as `lowerdir` lists them. Never empty.
    pub lower: Vec<PathBuf>,
    /// What the container changes.
    pub upper: PathBuf,
    /// Overlayfs' scratch directory, on the same file system as `upper`.
    pub work: PathBuf,
}

/// Something that a container changed in its root file system.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Change {
    /// The absolute path inside the container.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// How a path differs from the image. The numbers are those of Docker's API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ChangeKind {
    /// It is there in both and differs.
    Modified = 0,
    /// The container made it.
    Added = 1,
    /// The container removed it.
    Deleted = 2,
}

/// Why a snapshot could not be made, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no such snapshot.
    #[error("no such snapshot: {0}")]
    NotFound(String),
    /// There is one already.
    #[error("snapshot {0} exists already")]
    Exists(String),
    /// It can be no name of a snapshot.
    #[error("`{0}` cannot name a snapshot: letters, digits, `_`, `-` and `.` can")]
    Name(String),
    /// The image is not there.
    #[error(transparent)]
    Image(#[from] FindError),
    /// A layer that it needs is not there.
    #[error("layer {0} is not in the store")]
    MissingLayer(Digest),
    /// The store's own files could not be read or written.
    #[error("use snapshot directory {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl SnapshotError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            SnapshotError::NotFound(_) => Kind::NotFound,
            SnapshotError::Exists(_) => Kind::Conflict,
            SnapshotError::Name(_) => Kind::Invalid,
            SnapshotError::Image(error) => error.kind(),
            SnapshotError::MissingLayer(_) => Kind::NotFound,
            SnapshotError::Io { source, .. } => Kind::of_io(source),
        }
    }
}

impl Store {
    /// Makes the writable layer `id` (a container's id) over `image`, or over nothing.
    pub fn snapshot_create(&self, id: &str, image: Option<&ImageId>) -> Result<Snapshot, SnapshotError> {
        let _ = (id, image);
        todo!()
    }

    /// Finds a snapshot again, for example after a restart.
    pub fn snapshot_get(&self, id: &str) -> Result<Snapshot, SnapshotError> {
        let _ = id;
        todo!()
    }

    /// The ids of all snapshots, so that those whose containers are gone can be removed.
    pub fn snapshot_list(&self) -> Vec<String> {
        todo!()
    }

    /// Removes a snapshot with all that the container wrote. It must not be mounted.
    pub fn snapshot_remove(&self, id: &str) -> Result<(), SnapshotError> {
        let _ = id;
        todo!()
    }

    /// What the container changed, sorted by path (`docker diff`).
    pub fn snapshot_changes(&self, id: &str) -> Result<Vec<Change>, SnapshotError> {
        let _ = id;
        todo!()
    }

    /// Bytes that the container wrote (`docker ps --size`).
    pub fn snapshot_size(&self, id: &str) -> Result<u64, SnapshotError> {
        let _ = id;
        todo!()
    }

    /// Makes a layer of what the container changed so far; the snapshot stays (`docker commit`).
    /// The caller pauses the container if the copy is to be of one moment.
    pub fn snapshot_capture(&self, id: &str) -> Result<Layer, LayerError> {
        let _ = id;
        todo!()
    }

    /// Turns the snapshot itself into a layer, without copying; the snapshot is gone afterwards.
    /// It must not be mounted. For builds. `None` if nothing was changed (the snapshot is gone too).
    pub fn snapshot_seal(&self, id: &str) -> Result<Option<Layer>, LayerError> {
        let _ = id;
        todo!()
    }
}

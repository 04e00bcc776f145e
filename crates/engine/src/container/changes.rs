//! What a container changed in its root file system.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Path in the container.
    pub path: String,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// Its content or attributes, or something below it.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl Engine {
    /// The changed paths, sorted.
    pub async fn container_changes(&self, id: &ContainerId) -> Result<Vec<Change>> {
        let _ = id;
        todo!()
    }
}

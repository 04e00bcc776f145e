//! What a container changed in its root file system.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::work::blocking;

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
        self.inner.registry.get(id)?;
        let (store, name) = (self.inner.images.clone(), id.to_string());
        blocking(move || {
            let changes = store.snapshot_changes(&name).map_err(|source| {
                Error::internal("compare a container's files with its image's").with_source(source)
            })?;
            let change = |change: image::Change| Change {
                path: change.path.to_string_lossy().into_owned(),
                kind: match change.kind {
                    image::ChangeKind::Modified => ChangeKind::Modified,
                    image::ChangeKind::Added => ChangeKind::Added,
                    image::ChangeKind::Deleted => ChangeKind::Deleted,
                },
            };
            Ok(changes.into_iter().map(change).collect())
        })
        .await
    }
}

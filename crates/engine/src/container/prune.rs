//! Removing what nobody uses.

use base::Timestamp;

use super::remove::RemoveOptions;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Kind, Result};

/// What a prune removed.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// Ids or names.
    pub removed: Vec<String>,
    /// Bytes of disk that came back.
    pub reclaimed: u64,
}

/// What a prune spares.
#[derive(Clone, Debug, Default)]
pub struct PruneFilter {
    /// Only what was made before.
    pub until: Option<Timestamp>,
    /// Only what has all of these labels (`key` or `key=value`).
    pub labels: Vec<String>,
    /// Only what has none of these.
    pub without_labels: Vec<String>,
}

impl Engine {
    /// Removes all containers that do not run.
    pub async fn container_prune(&self, filter: PruneFilter) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for cell in self.inner.registry.all() {
            let record = cell.record();
            let is_idle = matches!(record.life.status, Status::Created | Status::Exited | Status::Dead);
            // What lives in a sandbox belongs to whoever made that.
            if !is_idle
                || cell.sandbox.spec.is_some()
                || !filter.admits(Some(record.created), &record.resolved.labels)
            {
                continue;
            }
            let size = self.container_size(&cell.id).await.map_or(0, |size| size.writable);
            match self.container_remove(&cell.id, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.removed.push(cell.id.to_string());
                    pruned.reclaimed += size;
                }
                // Somebody started or removed it meanwhile.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pruned)
    }
}

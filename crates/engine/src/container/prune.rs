//! Removing what nobody uses.

use base::Timestamp;
use futures::StreamExt as _;

use super::remove::RemoveOptions;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::event::EventKind;

/// How many are removed at a time.
const AT_ONCE: usize = 32;

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
        let mut unused = self.inner.registry.all();
        unused.retain(|cell| {
            let record = cell.record();
            // What lives in a sandbox belongs to whoever made that.
            matches!(record.life.status, Status::Created | Status::Exited | Status::Dead)
                && cell.sandbox.is_of_one()
                && !cell.is_hidden()
                && filter.admits(Some(record.created), &record.resolved.labels)
        });
        // Together: the records of those that are removed at a time share a flush.
        let removals = futures::stream::iter(unused).map(|cell| {
            let engine = self.clone();
            async move {
                let size = engine.container_size(&cell.id).await.map_or(0, |size| size.writable);
                let removed = engine.container_remove(&cell.id, RemoveOptions::default()).await;
                (cell, size, removed)
            }
        });
        let mut removals = std::pin::pin!(removals.buffered(AT_ONCE));
        let mut pruned = Pruned::default();
        while let Some((cell, size, removed)) = removals.next().await {
            match removed {
                Ok(()) => {
                    pruned.removed.push(cell.id.to_string());
                    pruned.reclaimed += size;
                }
                // Somebody started or removed it meanwhile.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_prune(EventKind::Container, pruned.reclaimed);
        Ok(pruned)
    }
}

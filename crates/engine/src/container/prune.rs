//! Removing what nobody uses.

use base::Timestamp;

use crate::engine::Engine;
use crate::error::Result;

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
        let _ = filter;
        todo!()
    }
}

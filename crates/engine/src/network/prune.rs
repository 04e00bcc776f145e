//! Removing networks that no container uses.

use super::NetworkFilter;
use crate::container::{PruneFilter, Pruned};
use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::event::EventKind;

impl Engine {
    /// Removes networks that no container uses.
    pub async fn network_prune(&self, filter: PruneFilter) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let unused = NetworkFilter { dangling: Some(true), builtin: Some(false), ..NetworkFilter::default() };
        for network in self.network_list(&unused) {
            if !filter.admits(Some(network.created), &network.spec.labels) {
                continue;
            }
            match self.network_remove(&network.id).await {
                Ok(()) => pruned.removed.push(network.name.clone()),
                // Somebody joined it meanwhile, or removed it.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_prune(EventKind::Network, 0);
        Ok(pruned)
    }
}

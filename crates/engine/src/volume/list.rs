//! Listing volumes and who has them.

use std::path::Path;
use std::sync::Arc;

use super::{Volume, VolumeFilter};
use crate::engine::Engine;
use crate::filter;

impl Engine {
    /// The volumes that `filter` lets through, by name.
    pub fn volume_list(&self, filter: &VolumeFilter) -> Vec<Arc<Volume>> {
        let all: Vec<Arc<Volume>> =
            self.inner.volumes.known.lock().values().map(|known| Arc::clone(&known.view)).collect();
        let admitted = |volume: &Arc<Volume>| {
            filter::name_matches(&filter.names, &volume.name)
                && filter::labels_match(&filter.labels, &volume.labels)
                && (filter.drivers.is_empty() || filter.drivers.contains(&volume.driver))
                && filter
                    .dangling
                    .is_none_or(|dangling| self.volume_users(&volume.name).is_empty() == dangling)
        };
        all.into_iter().filter(admitted).collect()
    }

    /// The ids of the containers that have a volume, in whatever state they are.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let known = self.inner.volumes.known.lock();
        known
            .get(name)
            .map(|volume| volume.users.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }
}

/// Bytes that what is below `path` takes; nothing where it cannot be looked at.
pub(crate) fn disk_use(path: &Path) -> u64 {
    let size = base::tree::size(path).unwrap_or_default();
    size.files.saturating_add(size.directories)
}

//! Removing volumes that nobody has.

use super::list::disk_use;
use super::{DATA, VolumeFilter};
use crate::container::{PruneFilter, Pruned};
use crate::engine::{Engine, blocking};
use crate::error::{Kind, Result};

impl Engine {
    /// Removes volumes that no container has: anonymous ones, or with `all` every one.
    pub async fn volume_prune(&self, filter: PruneFilter, all: bool) -> Result<Pruned> {
        let engine = self.clone();
        blocking(move || {
            let mut pruned = Pruned::default();
            for volume in
                engine.volume_list(&VolumeFilter { dangling: Some(true), ..VolumeFilter::default() })
            {
                if !(all || volume.anonymous) || !filter.admits(Some(volume.created), &volume.labels) {
                    continue;
                }
                let size = disk_use(&engine.inner.layout.volume(&volume.name).join(DATA));
                match engine.volume_delete(&volume.name) {
                    Ok(()) => {
                        pruned.removed.push(volume.name.clone());
                        pruned.reclaimed += size;
                    }
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(pruned)
        })
        .await
    }
}

//! Removing volumes that nobody has.

use super::list::disk_use;
use super::{DATA, VolumeFilter};
use crate::container::{PruneFilter, Pruned};
use crate::engine::{Engine, blocking};
use crate::error::{Error, Kind, Result};

impl Engine {
    /// Removes volumes that no container has: anonymous ones, or with `all` every one.
    pub async fn volume_prune(&self, filter: PruneFilter, all: bool) -> Result<Pruned> {
        let engine = self.clone();
        blocking(move || {
            if !engine.inner.left_out.read().is_empty() {
                return Err(Error::conflict(
                    "there are containers that could not be read, and volumes may be theirs: no volume is pruned (`gantry doctor` names them)",
                ));
            }
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
                    // Somebody removed it meanwhile, or took it into use.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(pruned)
        })
        .await
    }
}

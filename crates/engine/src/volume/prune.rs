//! Removing volumes that nobody has.

use super::VolumeFilter;
use super::list::disk_use;
use crate::container::{PruneFilter, Pruned};
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::EventKind;
use crate::work::blocking;

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
            let unused = VolumeFilter { dangling: Some(true), ..VolumeFilter::default() };
            let mut wanted = engine.volume_list(&unused);
            wanted.retain(|volume| {
                (all || volume.anonymous) && filter.admits(Some(volume.created), &volume.labels)
            });
            let sizes: Vec<u64> = wanted.iter().map(|volume| disk_use(volume)).collect();
            let names: Vec<&str> = wanted.iter().map(|volume| volume.name.as_str()).collect();
            let mut pruned = Pruned::default();
            let mut failed = None;
            for ((deleted, name), size) in engine.volumes_delete(&names).into_iter().zip(&names).zip(sizes) {
                match deleted {
                    Ok(()) => {
                        pruned.removed.push((*name).to_owned());
                        pruned.reclaimed += size;
                    }
                    // Somebody removed it meanwhile, or took it into use.
                    Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            engine.tell_prune(EventKind::Volume, pruned.reclaimed);
            Ok(pruned)
        })
        .await
    }
}

//! Getting onto the disk what was promised, and recording it there.
//!
//! Layers are unpacked without flushing a single file. Before an image is recorded for good, the
//! whole file system is flushed once; so every image in the list on disk is whole, whatever happens to
//! the machine. Steps of builds are promised to nobody: they are recorded in memory and wait until
//! the build ends, something else needs a flush, or the janitor finds the time.

use std::collections::BTreeSet;
use std::path::Path;

use oci::Digest;
use parking_lot::{Mutex, MutexGuard};

use super::{Inner, Tables, WriteError};
use crate::image::ImageId;

/// Flushes until `is_flushed` says that what a caller needs is on disk; gives the tables, in which
/// that is still so. Nobody waits for the tables while the disk is written to.
pub(super) fn flush<'a>(
    root: &Path,
    tables: &'a Mutex<Tables>,
    is_flushed: impl Fn(&Tables) -> bool,
) -> Result<MutexGuard<'a, Tables>, WriteError> {
    loop {
        let written = {
            let tables = tables.lock();
            if is_flushed(&tables) {
                return Ok(tables);
            }
            tables.written()
        };
        base::fs::sync_file_system(root).map_err(WriteError::io(root))?;
        tables.lock().flushed_up_to(written);
    }
}

/// Writes images and names to disk; on disk when this returns.
pub(super) fn persist(root: &Path, tables: &mut Tables) -> Result<(), WriteError> {
    tables.persist(root).map_err(WriteError::io(&root.join("state.json")))
}

/// Brings the steps of builds to disk that are not there yet.
pub(super) fn keep(root: &Path, tables: &Mutex<Tables>) {
    if !tables.lock().has_pending() {
        return;
    }
    let kept =
        flush(root, tables, |tables| !tables.has_pending()).and_then(|mut tables| persist(root, &mut tables));
    if let Err(error) = kept {
        tracing::warn!(error = %base::error::chain(&error), "steps of builds could not be kept");
    }
}

impl Inner {
    /// Waits until the layers `chain_ids` and the images `ids` are on disk; gives the tables.
    pub(crate) fn flushed(
        &self,
        chain_ids: &BTreeSet<Digest>,
        ids: &BTreeSet<ImageId>,
    ) -> Result<MutexGuard<'_, Tables>, WriteError> {
        flush(&self.root, &self.tables, |tables| {
            !chain_ids.iter().any(|chain_id| tables.is_unflushed(chain_id))
                && !ids.iter().any(|id| tables.is_pending(id))
        })
    }

    /// Waits until what steps came to is on disk; gives the tables.
    pub(crate) fn flushed_results(&self, keys: &[Digest]) -> Result<MutexGuard<'_, Tables>, WriteError> {
        flush(&self.root, &self.tables, |tables| !keys.iter().any(|key| tables.is_result_pending(key)))
    }
}

//! Root file systems as a whole: layers put together in a mount that is attached nowhere.
//!
//! Nobody else sees such a mount, and it goes when its descriptor is closed. Whatever is done below
//! it must resolve paths with `openat2` and `RESOLVE_IN_ROOT`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use base::overlay::Overlay;
use oci::Digest;
use rustix::fs::{CWD, Mode, OFlags};

use super::{Snapshot, SnapshotError, lower_links};
use crate::image::{FindError, ImageId};
use crate::store::Store;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Store {
    /// A snapshot's root file system; what is written there is the snapshot's. It must not be
    /// mounted elsewhere meanwhile. The mount is volatile: its changes are on disk for sure only
    /// when the image made of them is.
    pub fn snapshot_mount(&self, id: &str) -> Result<OwnedFd, SnapshotError> {
        let snapshot = self.snapshot_get(id)?;
        overlay(&snapshot.lower, Some(&snapshot))
            .map_err(|source| SnapshotError::Io { path: snapshot.upper.clone(), source })
    }

    /// An image's root file system, read-only.
    pub fn image_mount(&self, id: &ImageId) -> Result<OwnedFd, SnapshotError> {
        let mut lower = {
            let tables = self.inner.tables();
            let record = tables.images.get(id).ok_or_else(|| FindError::NotFound { name: id.to_string() })?;
            lower_links(&self.inner, &tables, record.layers.last())?
        };
        self.mount_lower(&mut lower)
    }

    /// The root file system that the layer `chain_id` is the topmost of, read-only; an empty one if there is none.
    pub fn chain_mount(&self, chain_id: Option<&Digest>) -> Result<OwnedFd, SnapshotError> {
        let mut lower = match chain_id {
            Some(_) => lower_links(&self.inner, &self.inner.tables(), chain_id)?,
            None => vec![self.inner.empty()],
        };
        self.mount_lower(&mut lower)
    }

    fn mount_lower(&self, lower: &mut Vec<PathBuf>) -> Result<OwnedFd, SnapshotError> {
        // Nothing runs here, so nothing is mounted over, and the image is shown as it is. What a layer takes away
        // of others is nothing where it stands alone.
        if lower.len() > 1 {
            lower.pop();
            if lower.len() == 1 {
                lower.push(self.inner.empty());
            }
        }
        let mounted = offload::in_place(|| match lower.as_slice() {
            [one] => rustix::fs::openat(CWD, one, DIRECTORY, Mode::empty()).map_err(io::Error::from),
            _ => overlay(lower, None),
        });
        mounted.map_err(|source| SnapshotError::Io { path: self.inner.root.join("layers"), source })
    }
}

/// Puts layers together. Without a snapshot on top, nothing can be written.
fn overlay(lower: &[PathBuf], upper: Option<&Snapshot>) -> io::Result<OwnedFd> {
    // Redirected or partly copied files mean nothing without the layers below, and layers travel
    // alone. An interrupted build step is done again, so nothing need be waited for.
    let options = [("redirect_dir", Some("off")), ("metacopy", Some("off")), ("volatile", None)];
    let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    let overlay = Overlay {
        lower: &lower,
        writable: upper.map(|snapshot| (snapshot.upper.as_path(), snapshot.work.as_path())),
        options: if upper.is_some() { &options } else { &[] },
    };
    overlay.mount().map_err(io::Error::other)
}

//! Root file systems as a whole: layers put together in a mount that is attached nowhere.
//!
//! Nobody else sees such a mount, and it goes when its descriptor is closed. Whatever is done below
//! it must resolve paths with `openat2` and `RESOLVE_IN_ROOT`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

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
            let tables = self.inner.tables.lock();
            let record = tables.images.get(id).ok_or_else(|| FindError::NotFound { name: id.to_string() })?;
            lower_links(&self.inner, &tables, record.layers.last())?
        };
        // Nothing runs here, so nothing is mounted over, and the image is shown as it is.
        if lower.len() > 1 {
            lower.pop();
        }
        let mounted = match lower.as_slice() {
            [one] => rustix::fs::openat(CWD, one, DIRECTORY, Mode::empty()).map_err(io::Error::from),
            _ => overlay(&lower, None),
        };
        mounted.map_err(|source| SnapshotError::Io { path: self.inner.root.join("layers"), source })
    }
}

fn overlay(lower: &[PathBuf], upper: Option<&Snapshot>) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", "overlay")?;
    if set_lower(context.as_fd(), lower).is_err() {
        // Kernels before 6.7 take all directories at once, in 255 bytes.
        let all: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
        fsconfig_set_string(context.as_fd(), "lowerdir", all.join(":"))?;
    }
    if let Some(snapshot) = upper {
        set_directory(context.as_fd(), "upperdir", &snapshot.upper)?;
        set_directory(context.as_fd(), "workdir", &snapshot.work)?;
        // Redirected or partly copied files mean nothing without the layers below, and layers travel alone.
        fsconfig_set_string(context.as_fd(), "redirect_dir", "off")?;
        fsconfig_set_string(context.as_fd(), "metacopy", "off")?;
        // An interrupted build step is done again, so nothing need be waited for.
        let _ = fsconfig_set_flag(context.as_fd(), "volatile");
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

fn set_lower(context: BorrowedFd<'_>, lower: &[PathBuf]) -> io::Result<()> {
    for path in lower {
        set_directory(context, "lowerdir+", path)?;
    }
    Ok(())
}

fn set_directory(context: BorrowedFd<'_>, key: &str, path: &Path) -> io::Result<()> {
    let directory = rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?;
    match fsconfig_set_fd(context, key, directory.as_fd()) {
        // Kernels before 6.13 take paths only.
        Err(Errno::INVAL) => Ok(fsconfig_set_string(context, key, path)?),
        other => Ok(other?),
    }
}

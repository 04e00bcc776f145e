//! An overlay whose layers are idmapped: on disk everything belongs to whom it does inside of the
//! container's user namespace, so that layers are shared with other containers, and what a container
//! writes can be read and committed as that of any other.
//!
//! Overlayfs cannot be idmapped itself; its layers can, from Linux 5.19 on. They must have a place in
//! the mount namespace in which they are put together (up to 6.14), so that one is made for it alone.
//! What overlayfs makes for itself belongs to whoever mounts it, who must be somebody by the maps of the
//! layers: the root of the user namespace, with the rights of the host's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use base::overlay::Overlay;
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount as mount_at};
use rustix::mount::{mount_change, move_mount, open_tree};
use rustix::thread::{CapabilitySets, UnshareFlags, capabilities, set_capabilities};

use super::super::ProcessError;
use super::super::idmap::Maps;
use super::host;
use super::mounts::map_ids;
use crate::sys::thread::set_fs_ids;

/// Mounts `layers`, nowhere. `place` is a directory that something may be mounted over for as long as
/// this takes, where nobody else sees it.
pub(super) fn mount(
    layers: &Overlay<'_>,
    namespace: &OwnedFd,
    maps: &Maps,
    place: &Path,
) -> Result<OwnedFd, ProcessError> {
    let root = maps.root().ok_or_else(|| {
        ProcessError::invalid("a root file system with mapped ids needs a mapping of user and group 0")
    })?;
    // A thread of its own, since what it enters and becomes cannot be left again.
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("overlay".to_owned());
        thread
            .spawn_scoped(scope, || mount_alone(layers, namespace, root, place))
            .map_err(|error| ProcessError::host("start a thread to mount layers", error))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn mount_alone(
    layers: &Overlay<'_>,
    namespace: &OwnedFd,
    root: (u32, u32),
    place: &Path,
) -> Result<OwnedFd, ProcessError> {
    let failed = |error: Errno| host("prepare a place for layers at", place, error);
    #[expect(deprecated, reason = "its successor is unsafe for the sake of a flag that is not used here")]
    rustix::thread::unshare(UnshareFlags::FS | UnshareFlags::NEWNS).map_err(failed)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(failed)?;
    mount_at("layers", place, "tmpfs", MountFlags::empty(), Some(c"mode=755")).map_err(failed)?;

    let mut lower = Vec::with_capacity(layers.lower.len());
    for (index, layer) in layers.lower.iter().enumerate() {
        let target = place.join(index.to_string());
        show(layer, namespace, &target)?;
        lower.push(target);
    }
    let writable = layers.writable.map(|(upper, work)| changes(upper, work, namespace, place)).transpose()?;

    let rights = capabilities(None).map_err(|error| became_failed(error.into()))?;
    set_fs_ids(root.0, root.1).map_err(became_failed)?;
    // What a change of these ids takes away is put in force again.
    let again = CapabilitySets { effective: rights.permitted, ..rights };
    set_capabilities(None, again).map_err(|error| became_failed(error.into()))?;
    let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
    let writable = writable.as_ref().map(|(upper, work)| (upper.as_path(), work.as_path()));
    Overlay { lower: &lower, writable, options: layers.options }.mount().map_err(ProcessError::Overlay)
}

fn became_failed(error: io::Error) -> ProcessError {
    ProcessError::host("become root of the container's user namespace", error)
}

/// Shows a directory at `target`, with mapped ids.
fn show(directory: &Path, namespace: &OwnedFd, target: &Path) -> Result<(), ProcessError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = open_tree(CWD, directory, flags).map_err(|error| host("clone", directory, error))?;
    map_ids(&clone, namespace, false, directory)?;
    rustix::fs::mkdirat(CWD, target, Mode::from_raw_mode(0o755))
        .map_err(|error| host("make", target, error))?;
    move_mount(&clone, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|error| host("show", directory, error))
}

/// Shows the directories for changes, which must be seen through one and the same mount.
fn changes(
    upper: &Path,
    work: &Path,
    namespace: &OwnedFd,
    place: &Path,
) -> Result<(PathBuf, PathBuf), ProcessError> {
    let refused = || {
        ProcessError::invalid(
            "the upper and the work directory of an overlay with mapped ids must be neighbours",
        )
    };
    let (Some(above), Some(upper_name)) = (upper.parent(), upper.file_name()) else { return Err(refused()) };
    let Some(work_name) = work.file_name().filter(|_| work.parent() == Some(above)) else {
        return Err(refused());
    };
    let target = place.join("changes");
    show(above, namespace, &target)?;
    Ok((target.join(upper_name), target.join(work_name)))
}

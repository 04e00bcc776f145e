//! The root file system's mount, made before there is a container and attached nowhere.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use base::overlay::Overlay;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::super::idmap::Maps;
use super::super::plan::RootPlan;
use super::super::{Container, ProcessError};
use super::{c_string, host, mapped_overlay, options};
use crate::Rootfs;
use crate::spec::Linux;
use crate::sys::mount::{MountAttr, set_attributes};

pub(super) fn prepare(
    container: &Container<'_>,
    linux: &Linux,
    mapped: Option<&OwnedFd>,
) -> Result<RootPlan, ProcessError> {
    let asked = linux.rootfs_propagation.as_deref().filter(|name| !name.is_empty());
    let propagation = asked
        .map(|name| {
            options::propagation(name)
                .or_else(|| options::propagation(&format!("r{name}")))
                .ok_or_else(|| ProcessError::invalid(format!("unknown root propagation `{name}`")))
        })
        .transpose()?;
    // Mounts must never go out to the host; whether they may come in is the configuration's choice.
    let outer = match propagation {
        Some((options::PRIVATE, _)) => options::PRIVATE,
        _ => options::SLAVE,
    };
    let inner = propagation.map(|(flag, recursive)| flag | if recursive { options::MS_REC } else { 0 });
    let (mount, attach) = match container.rootfs {
        Rootfs::Path(path) => {
            let path = container.bundle.join(path);
            (directory(&path, outer)?, path)
        }
        Rootfs::Overlay { lower, upper, work, volatile, mapped: is_mapped } => {
            let attach = container.bundle.join("rootfs");
            match std::fs::create_dir(&attach) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(host("create directory", &attach, error));
                }
                _ => {}
            }
            let writable = match (upper, work) {
                (Some(upper), Some(work)) => Some((upper.as_path(), work.as_path())),
                (None, None) => None,
                _ => {
                    return Err(ProcessError::invalid(
                        "an overlay has an upper and a work directory, or neither",
                    ));
                }
            };
            if lower.is_empty() {
                return Err(ProcessError::invalid("an overlay needs at least one lower directory"));
            }
            let lower: Vec<&Path> = lower.iter().map(PathBuf::as_path).collect();
            let options: &[_] = if *volatile && writable.is_some() { &[("volatile", None)] } else { &[] };
            let layers = Overlay { lower: &lower, writable, options };
            match mapped.filter(|_| *is_mapped) {
                None => (layers.mount().map_err(ProcessError::Overlay)?, attach),
                // The way to the bundle need not be open to root of another user namespace. Any
                // directory of the host will do, which the host does not see.
                Some(namespace) => {
                    let maps = Maps { users: linux.uid_mappings.clone(), groups: linux.gid_mappings.clone() };
                    (mapped_overlay::mount(&layers, namespace, &maps, &attach)?, "/proc".into())
                }
            }
        }
    };
    let readonly = container.spec.root.as_ref().is_some_and(|root| root.readonly);
    Ok(RootPlan {
        mount,
        attach: c_string(&attach)?,
        outer_propagation: outer | options::MS_REC,
        inner_propagation: inner,
        readonly,
        pivot: !container.no_pivot,
    })
}

/// A clone of the directory's mounts. A symbolic link is refused: who can change it could make
/// any directory of the host the root.
fn directory(path: &Path, propagation: u64) -> Result<OwnedFd, ProcessError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => {
            host("open root file system (no directory, or a symbolic link)", path, error)
        }
        error => host("open root file system", path, error),
    })?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(&fd, c"", flags).map_err(|error| host("clone root file system", path, error))?;
    set_attributes(&tree, true, MountAttr { propagation, ..MountAttr::default() })
        .map_err(|error| host("cut loose root file system", path, error))?;
    Ok(tree)
}

//! `emptyDir`: a directory of the pod's own, on disk or in memory.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};

use super::VolumeError;
use super::memory::Memory;
use crate::pod::resources::quantity;

/// Permissions of a volume that belongs to nobody, and of one that belongs to the pod's group.
const OPEN: u32 = 0o777;
const OF_GROUP: u32 = 0o2777;

/// What the beginning of the name of a directory in the making is.
pub(super) const MAKING: &str = "..";

/// The memory that it is, unless it is on disk.
pub(super) fn memory(pod: &Pod, source: &EmptyDirVolumeSource, group: Option<u32>) -> Option<Memory> {
    if source.medium.as_deref() != Some("Memory") {
        return None;
    }
    let size = source.size_limit.as_ref().and_then(|limit| limit.0.parse::<model::quantity::Quantity>().ok());
    // No limit at all is written as none, or as nothing.
    let limits = size.map(|size| size.value()).into_iter().chain(memory_limit(pod));
    Some(Memory { mode: mode(group), group, size: limits.filter(|&bytes| bytes > 0).min() })
}

/// Makes the directory, unless it is there.
pub(super) fn make(name: &str, path: &Path, group: Option<u32>) -> Result<(), VolumeError> {
    if path.exists() {
        return Ok(());
    }
    // Beside it first: what is under its name is whole.
    let staged = path.with_file_name(format!("{MAKING}{name}"));
    let made = || -> io::Result<()> {
        match base::tree::remove(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&staged)?,
        }
        std::os::unix::fs::chown(&staged, None, group)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(mode(group)))?;
        fs::rename(&staged, path)
    };
    made().map_err(|source| VolumeError::Io {
        name: name.to_owned(),
        tried: "create",
        path: path.to_owned(),
        source,
    })
}

fn mode(group: Option<u32>) -> u32 {
    if group.is_some() { OF_GROUP } else { OPEN }
}

/// What all containers may take together, if each is limited: the bound of memory volumes.
fn memory_limit(pod: &Pod) -> Option<i64> {
    let containers = &pod.spec.as_ref()?.containers;
    let limit = |container: &k8s_openapi::api::core::v1::Container| {
        quantity(container.resources.as_ref()?.limits.as_ref(), "memory").map(|memory| memory.value())
    };
    containers.iter().try_fold(0i64, |sum, container| Some(sum.saturating_add(limit(container)?)))
}

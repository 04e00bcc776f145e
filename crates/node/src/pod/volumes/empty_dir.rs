//! `emptyDir`: a directory of the pod's own, on disk or in memory.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};

use super::memory::{self, Memory};
use super::{Context, VolumeError, fs_group};
use crate::pod::resources::quantity;

/// Permissions of a volume that belongs to nobody, and of one that belongs to the pod's group.
const OPEN: u32 = 0o777;
const OF_GROUP: u32 = 0o2777;

pub(super) fn prepare(
    context: &Context<'_>,
    name: &str,
    path: &Path,
    source: &EmptyDirVolumeSource,
) -> Result<(), VolumeError> {
    let fail = |tried: &'static str| {
        move |source: io::Error| VolumeError::Io {
            name: name.to_owned(),
            tried,
            path: path.to_owned(),
            source,
        }
    };
    let group = fs_group(context.pod);
    let mode = if group.is_some() { OF_GROUP } else { OPEN };
    if source.medium.as_deref() == Some("Memory") {
        // Containers that run use what is there.
        if context.running && path.exists() {
            return Ok(());
        }
        let size =
            source.size_limit.as_ref().and_then(|limit| limit.0.parse::<model::quantity::Quantity>().ok());
        let limit = memory_limit(context.pod);
        // No limit at all is written as none, or as nothing.
        let size = size.map(|size| size.value()).into_iter().chain(limit).filter(|&bytes| bytes > 0).min();
        return memory::mount(path, &Memory { mode, group, size }).map_err(fail("mount memory at"));
    }
    if path.exists() {
        return Ok(());
    }
    // Beside it first: what is under its name is whole.
    let staged = path.with_file_name(format!("..{name}"));
    let made = || -> io::Result<()> {
        match base::tree::remove(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&staged)?,
        }
        std::os::unix::fs::chown(&staged, None, group)?;
        fs::set_permissions(&staged, fs::Permissions::from_mode(mode))?;
        fs::rename(&staged, path)
    };
    made().map_err(fail("create"))
}

/// What all containers may take together, if each is limited: the bound of memory volumes.
fn memory_limit(pod: &Pod) -> Option<i64> {
    let containers = &pod.spec.as_ref()?.containers;
    let limit = |container: &k8s_openapi::api::core::v1::Container| {
        quantity(container.resources.as_ref()?.limits.as_ref(), "memory").map(|memory| memory.value())
    };
    containers.iter().try_fold(0i64, |sum, container| Some(sum.saturating_add(limit(container)?)))
}

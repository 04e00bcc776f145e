//! Devices of the host that a container gets, with their numbers.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use runtime::spec::{LinuxDevice, device_kind};

use super::resources::Resources;
use super::spec::ContainerSpec;
use crate::error::{Error, Result};
use crate::spec::throttled;

/// Directories of `/dev` that are file systems of their own, and the container's own console.
const NOT_DEVICES: [&str; 6] = ["pts", "shm", "mqueue", "fd", "console", ".udev"];

/// The devices that `spec` asks for; all of the host's where it is privileged.
pub(super) fn of_container(spec: &ContainerSpec) -> Result<Vec<LinuxDevice>> {
    let mut devices = Vec::new();
    if spec.security.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), &mut devices);
    }
    for asked in &spec.resources.devices {
        let (source, target) = (Path::new(&asked.host_path), Path::new(&asked.container_path));
        if asked.permissions.is_empty() || !asked.permissions.bytes().all(|byte| b"rwm".contains(&byte)) {
            return Err(Error::invalid(format!("invalid device mode: {}", asked.permissions)));
        }
        let before = devices.len();
        let source = fs::canonicalize(source).map_err(|error| {
            Error::invalid(format!(
                "error gathering device information while adding custom device \"{}\"",
                asked.host_path
            ))
            .with_source(error)
        })?;
        if source.is_dir() {
            collect(&source, target, &mut devices);
        } else {
            devices.extend(device(&source, target));
        }
        if devices.len() == before {
            return Err(Error::invalid(format!(
                "error gathering device information while adding custom device \"{}\": not a device node",
                asked.host_path
            )));
        }
    }
    Ok(devices)
}

/// The numbers of the block devices that limits name.
pub(super) fn block_numbers(resources: &Resources) -> Result<Vec<(String, i64, i64)>> {
    throttled(resources)
        .map(|path| {
            let meta = fs::metadata(path)
                .map_err(|error| Error::invalid(format!("no such device: {path}")).with_source(error))?;
            let (major, minor) = numbers(meta.rdev());
            Ok((path.to_owned(), major, minor))
        })
        .collect()
}

fn collect(source: &Path, target: &Path, devices: &mut Vec<LinuxDevice>) {
    // A device that vanishes while this looks is not there.
    let Ok(entries) = fs::read_dir(source) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| NOT_DEVICES.contains(&name)) {
            continue;
        }
        let (source, target) = (entry.path(), target.join(&name));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&source, &target, devices),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                devices.extend(device(&source, &target))
            }
            _ => {}
        }
    }
}

fn device(source: &Path, target: &Path) -> Option<LinuxDevice> {
    let meta = fs::metadata(source).ok()?;
    let kind = if meta.file_type().is_char_device() {
        device_kind::CHAR
    } else if meta.file_type().is_block_device() {
        device_kind::BLOCK
    } else {
        return None;
    };
    let (major, minor) = numbers(meta.rdev());
    Some(LinuxDevice {
        path: PathBuf::from(target),
        kind: kind.to_owned(),
        major,
        minor,
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
    })
}

fn numbers(device: u64) -> (i64, i64) {
    (i64::from(rustix::fs::major(device)), i64::from(rustix::fs::minor(device)))
}

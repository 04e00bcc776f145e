//! Mounts: `-v`, `--mount`, `--tmpfs`, `--volumes-from`.

mod bind;
mod long;

use std::collections::{BTreeMap, BTreeSet};

use engine::Container;
use engine::container::{Mount, MountKind, MountSource, Propagation};

use crate::fault::Fault;
use crate::wire::container::{Config, HostConfig};

/// All mounts that the documents name, those from other containers first. `find` gives another
/// container by its name.
pub(crate) fn mounts(
    config: &Config,
    host: &HostConfig,
    find: &dyn Fn(&str) -> Result<std::sync::Arc<Container>, Fault>,
) -> Result<Vec<Mount>, Fault> {
    let driver = &host.general.volume_driver;
    let mut named = Vec::new();
    for text in host.general.binds.iter().flatten() {
        named.push(bind::parse(text, driver)?);
    }
    for document in &host.rest.mounts {
        named.push(long::read(document)?);
    }
    for (target, options) in &host.general.tmpfs {
        named.push(tmpfs(target, options)?);
    }
    let mut taken = BTreeSet::new();
    for mount in &named {
        if !taken.insert(clean(&mount.target)) {
            return Err(Fault::invalid(format!("Duplicate mount point: {}", mount.target)));
        }
    }
    // What is named here goes before what other containers have at the same place.
    let mut all = Vec::new();
    for text in host.general.volumes_from.iter().flatten() {
        for mount in volumes_from(text, find)? {
            if taken.insert(clean(&mount.target)) {
                all.push(mount);
            }
        }
    }
    all.extend(named);
    for target in config.volumes.iter().flatten().map(|(target, _)| target) {
        check_target(target, target)?;
        if taken.insert(clean(target)) {
            let mut source = volume(None);
            if let MountSource::Volume { driver: own, .. } = &mut source {
                *own = (!driver.is_empty()).then(|| driver.clone());
            }
            all.push(Mount { target: target.clone(), read_only: false, source });
        }
    }
    Ok(all)
}

/// A volume without any wishes.
fn volume(name: Option<String>) -> MountSource {
    MountSource::Volume {
        name,
        no_copy: false,
        subpath: None,
        driver: None,
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    }
}

/// A part of a volume.
fn part_of(name: Option<String>, part: &str) -> MountSource {
    let mut source = volume(name);
    if let MountSource::Volume { subpath, .. } = &mut source {
        *subpath = Some(part.to_owned());
    }
    source
}

/// Refuses a place in the container that nothing can be mounted at.
fn check_target(target: &str, specification: &str) -> Result<(), Fault> {
    if !target.starts_with('/') {
        return Err(Fault::invalid(format!(
            "invalid volume specification: '{specification}': invalid mount config: invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    if clean(target) == "/" {
        return Err(Fault::invalid(format!(
            "invalid volume specification: '{specification}': invalid mount config: invalid specification: destination can't be '/'"
        )));
    }
    Ok(())
}

/// A path without needless slashes and dots, so that equal places compare equal.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn propagation(text: &str) -> Option<Propagation> {
    Some(match text {
        "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "rslave" => Propagation::Rslave,
        "slave" => Propagation::Slave,
        "rshared" => Propagation::Rshared,
        "shared" => Propagation::Shared,
        _ => return None,
    })
}

fn tmpfs(target: &str, text: &str) -> Result<Mount, Fault> {
    check_target(target, target)?;
    let mut size = None;
    let mut mode = None;
    let mut read_only = false;
    let mut options = Vec::new();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        let invalid = || Fault::invalid(format!("invalid tmpfs option [\"{option}\"]"));
        match option.split_once('=') {
            Some(("size", value)) => size = Some(tmpfs_size(value).ok_or_else(invalid)?),
            Some(("mode", value)) => mode = Some(u32::from_str_radix(value, 8).map_err(|_| invalid())?),
            Some(("uid" | "gid" | "nr_inodes" | "nr_blocks" | "mpol", _)) => options.push(option.to_owned()),
            None if option == "ro" => read_only = true,
            None if option == "rw" => read_only = false,
            None => options.push(option.to_owned()),
            Some(_) => return Err(invalid()),
        }
    }
    Ok(Mount { target: target.to_owned(), read_only, source: MountSource::Tmpfs { size, mode, options } })
}

fn tmpfs_size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (number, scale) = match lower.chars().last()? {
        'k' => (&lower[..lower.len() - 1], 1u64 << 10),
        'm' => (&lower[..lower.len() - 1], 1 << 20),
        'g' => (&lower[..lower.len() - 1], 1 << 30),
        _ => (lower.as_str(), 1),
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

fn volumes_from(
    text: &str,
    find: &dyn Fn(&str) -> Result<std::sync::Arc<Container>, Fault>,
) -> Result<Vec<Mount>, Fault> {
    let (name, mode) = text.split_once(':').unwrap_or((text, "rw"));
    if name.is_empty() {
        return Err(Fault::invalid("volumes-from specification cannot be an empty string"));
    }
    let read_only = match mode {
        "rw" | "z" | "Z" => false,
        "ro" => true,
        _ => return Err(Fault::invalid(format!("invalid mode for volumes-from: {mode}"))),
    };
    let other = find(name)?;
    let shared = other.mounts.iter().filter_map(|point| {
        let asked = other.spec.mounts.iter().find(|mount| mount.target == point.target);
        let source = match (point.kind, asked.map(|mount| &mount.source)) {
            // Memory is nobody else's.
            (MountKind::Tmpfs, _) => return None,
            // The same part of it, and no more.
            (MountKind::Volume, Some(MountSource::Volume { subpath: Some(part), .. })) => {
                part_of(point.volume.clone(), part)
            }
            (MountKind::Volume, _) => volume(point.volume.clone()),
            (MountKind::Bind | MountKind::Image, Some(source)) => source.clone(),
            (MountKind::Bind | MountKind::Image, None) => return None,
        };
        Some(Mount { target: point.target.clone(), read_only: read_only || !point.writable, source })
    });
    Ok(shared.collect())
}

#[cfg(test)]
mod tests;

//! From the mounts that were asked for to those that are made.

use std::path::{Path, PathBuf};

use super::spec::{ContainerSpec, Mount, MountSource};
use super::view::{MountKind, MountPoint, ResolvedSpec};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::rootfs::RootFs;
use crate::spec::PreparedMount;
use crate::state::ContainerRecord;
use crate::volume::VolumeSpec;

/// Finds and makes the volumes of a container that is being created.
pub(super) struct Volumes<'a> {
    engine: &'a Engine,
    /// The image's layers, topmost first.
    lower: &'a [PathBuf],
    /// Names of the anonymous volumes that were made.
    pub(super) made: Vec<String>,
}

impl<'a> Volumes<'a> {
    pub(super) fn new(engine: &'a Engine, lower: &'a [PathBuf]) -> Self {
        Self { engine, lower, made: Vec::new() }
    }

    /// The mount points: those asked for, in order, then the volumes that only the image declares.
    pub(super) fn resolve(
        &mut self,
        spec: &ContainerSpec,
        resolved: &ResolvedSpec,
    ) -> Result<Vec<MountPoint>> {
        let mut points = Vec::with_capacity(spec.mounts.len());
        for mount in &spec.mounts {
            points.push(self.mount_point(mount)?);
        }
        for target in &resolved.image_volumes {
            let same =
                |point: &MountPoint| point.target.trim_end_matches('/') == target.trim_end_matches('/');
            if !points.iter().any(same) {
                points.push(self.mount_point(&anonymous(target))?);
            }
        }
        Ok(points)
    }

    fn mount_point(&mut self, mount: &Mount) -> Result<MountPoint> {
        let point = MountPoint {
            kind: MountKind::Bind,
            volume: None,
            driver: None,
            source: PathBuf::new(),
            target: mount.target.clone(),
            writable: !mount.read_only,
            propagation: String::new(),
        };
        match &mount.source {
            MountSource::Bind { path, propagation, create, .. } => {
                if !path.is_absolute() {
                    return Err(Error::invalid(format!(
                        "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                        path.display()
                    )));
                }
                if !create && !path.exists() {
                    return Err(source_missing(path));
                }
                let propagation = propagation.as_str().to_owned();
                Ok(MountPoint { source: path.clone(), propagation, ..point })
            }
            MountSource::Tmpfs { .. } => Ok(MountPoint { kind: MountKind::Tmpfs, ..point }),
            MountSource::Volume { name, no_copy, subpath, driver, labels, options } => {
                let volume = self.engine.volume_make(VolumeSpec {
                    name: name.clone(),
                    driver: driver.clone().unwrap_or_default(),
                    labels: labels.clone(),
                    options: options.clone(),
                })?;
                if name.is_none() {
                    self.made.push(volume.name.clone());
                }
                if !no_copy && subpath.is_none() && volume.options.is_empty() {
                    self.engine.volume_fill(&volume.name, || RootFs::of_image(self.lower), &mount.target)?;
                }
                Ok(MountPoint {
                    kind: MountKind::Volume,
                    source: volume.path.clone(),
                    driver: Some(volume.driver.clone()),
                    volume: Some(volume.name.clone()),
                    ..point
                })
            }
        }
    }
}

fn anonymous(target: &str) -> Mount {
    let source = MountSource::Volume {
        name: None,
        no_copy: false,
        subpath: None,
        driver: None,
        labels: Default::default(),
        options: Default::default(),
    };
    Mount { target: target.to_owned(), read_only: false, source }
}

fn source_missing(path: &Path) -> Error {
    Error::invalid(format!(
        "invalid mount config for type \"bind\": bind source path does not exist: {}",
        path.display()
    ))
}

/// The mounts of a container that is being started, its own files of `/etc` first.
pub(super) fn prepare(engine: &Engine, record: &ContainerRecord, files: &Path) -> Result<Vec<PreparedMount>> {
    let mut mounts = Vec::new();
    for name in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{name}");
        // Who mounts something of their own there knows why.
        if !record.mounts.iter().any(|point| point.target == target) {
            mounts.push(PreparedMount::Bind {
                source: files.join(name),
                target,
                read_only: false,
                propagation: super::Propagation::Rprivate,
                recursive: true,
                writable_below: false,
            });
        }
    }
    for (index, point) in record.mounts.iter().enumerate() {
        mounts.push(match record.spec.mounts.get(index) {
            Some(mount) => prepare_one(engine, mount, point)?,
            None => volume(engine, point, None)?,
        });
    }
    Ok(mounts)
}

fn prepare_one(engine: &Engine, mount: &Mount, point: &MountPoint) -> Result<PreparedMount> {
    match &mount.source {
        MountSource::Bind { path, propagation, create, non_recursive, writable_below } => {
            if !path.exists() {
                if !create {
                    return Err(source_missing(path));
                }
                crate::state::make_directory(path, 0o755)?;
            }
            Ok(PreparedMount::Bind {
                source: path.clone(),
                target: mount.target.clone(),
                read_only: mount.read_only,
                propagation: *propagation,
                recursive: !non_recursive,
                writable_below: *writable_below,
            })
        }
        MountSource::Tmpfs { size, mode, options } => Ok(PreparedMount::tmpfs(mount, *size, *mode, options)),
        MountSource::Volume { subpath, .. } => volume(engine, point, subpath.as_deref()),
    }
}

fn volume(engine: &Engine, point: &MountPoint, subpath: Option<&str>) -> Result<PreparedMount> {
    let name = point.volume.as_deref().unwrap_or_default();
    let volume = engine.volume_inspect(name)?;
    let option = |key: &str| volume.options.get(key).map(String::as_str).filter(|value| !value.is_empty());
    let kind = option("type").filter(|&kind| kind != "none" && kind != "bind");
    let words: Vec<String> =
        option("o").map(|words| words.split(',').map(str::to_owned).collect()).unwrap_or_default();
    if let Some(kind) = kind {
        let mut options: Vec<String> = words;
        if !point.writable {
            options.push("ro".to_owned());
        }
        return Ok(PreparedMount::Filesystem {
            kind: kind.to_owned(),
            source: option("device").unwrap_or(kind).to_owned(),
            target: point.target.clone(),
            options,
        });
    }
    let mut source = match option("device") {
        Some(device) => PathBuf::from(device),
        None => volume.path.clone(),
    };
    if let Some(subpath) = subpath {
        if Path::new(subpath).components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Error::invalid(format!(
                "subpath must be a relative path within the volume: {subpath}"
            )));
        }
        // The runtime opens bind sources as they are; a link in the volume must not lead it out.
        let mut confined = source.clone();
        for part in Path::new(subpath) {
            confined.push(part);
            if confined.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) {
                return Err(Error::invalid(format!("subpath {subpath} of volume {name} is a symbolic link")));
            }
        }
        source = confined;
    }
    if !source.exists() {
        return Err(source_missing(&source));
    }
    Ok(PreparedMount::Bind {
        source,
        target: point.target.clone(),
        read_only: !point.writable,
        propagation: super::Propagation::Rprivate,
        recursive: true,
        writable_below: false,
    })
}

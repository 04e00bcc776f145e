//! From the mounts that were asked for to those that are made.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, fstatvfs};

use super::images;
use super::record::ContainerRecord;
use super::source::{Source, missing};
use super::spec::{ContainerSpec, Mount, MountSource};
use super::view::{MountKind, MountPoint, ResolvedSpec};
use crate::engine::Engine;
use crate::error::{Error, Fact, Result};
use crate::id::ContainerId;
use crate::rootfs::RootFs;
use crate::spec::PreparedMount;
use crate::volume::VolumeSpec;

/// Finds and makes the volumes of a container that is being created.
pub(super) struct Volumes<'a> {
    engine: &'a Engine,
    /// The container: from the moment a volume is found it counts as one that has it.
    container: &'a ContainerId,
    /// The image's layers, topmost first.
    lower: &'a [PathBuf],
    /// Names of the anonymous volumes that were made.
    pub(super) made: Vec<String>,
}

impl<'a> Volumes<'a> {
    pub(super) fn new(engine: &'a Engine, container: &'a ContainerId, lower: &'a [PathBuf]) -> Self {
        Self { engine, container, lower, made: Vec::new() }
    }

    /// The mount points: those asked for, in order, then the volumes that only the image declares.
    pub(super) fn resolve(
        &mut self,
        spec: &ContainerSpec,
        resolved: &ResolvedSpec,
    ) -> Result<Vec<MountPoint>> {
        let mut points = Vec::with_capacity(spec.mounts.len());
        for (index, mount) in spec.mounts.iter().enumerate() {
            points.push(self.mount_point(index, mount)?);
        }
        let place = |target: &str| target.trim_end_matches('/').to_owned();
        let mut taken: HashSet<String> = points.iter().map(|point| place(&point.target)).collect();
        for target in &resolved.image_volumes {
            if taken.insert(place(target)) {
                points.push(self.mount_point(points.len(), &anonymous(target))?);
            }
        }
        Ok(points)
    }

    fn mount_point(&mut self, index: usize, mount: &Mount) -> Result<MountPoint> {
        let point = MountPoint {
            kind: MountKind::Bind,
            volume: None,
            driver: None,
            source: PathBuf::new(),
            target: mount.target.clone(),
            writable: !mount.read_only,
            propagation: String::new(),
            image: None,
        };
        match &mount.source {
            MountSource::Bind { path, subpath, propagation, create, .. } => {
                if !path.is_absolute() {
                    return Err(Fact::RelativeBindSource { path: path.clone() }.into());
                }
                if !create && !path.exists() {
                    return Err(missing(path));
                }
                let propagation = propagation.as_str().to_owned();
                let source = subpath.as_ref().map_or_else(|| path.clone(), |part| path.join(part));
                Ok(MountPoint { source, propagation, ..point })
            }
            MountSource::Tmpfs { .. } => Ok(MountPoint { kind: MountKind::Tmpfs, ..point }),
            MountSource::Image { reference, .. } => {
                let image = images::take(self.engine, self.container, index, reference)?;
                Ok(MountPoint {
                    kind: MountKind::Image,
                    source: self.engine.inner.places.image_mount(self.container, index),
                    image: Some(image.to_string()),
                    writable: false,
                    ..point
                })
            }
            MountSource::Volume { name, no_copy, subpath, driver, labels, options } => {
                let spec = VolumeSpec {
                    name: name.clone(),
                    driver: driver.clone().unwrap_or_default(),
                    labels: labels.clone(),
                    options: options.clone(),
                };
                let volume = self.engine.volume_make(spec, Some(self.container))?;
                if name.is_none() {
                    self.made.push(volume.name.clone());
                }
                if !no_copy {
                    let image = || RootFs::of_image(self.lower);
                    self.engine.volume_fill(&volume.name, subpath.as_deref(), image, &mount.target)?;
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

/// The mounts of a container that is being started, its own files of `/etc` first.
pub(super) fn prepare(engine: &Engine, record: &ContainerRecord, files: &Path) -> Result<Vec<PreparedMount>> {
    let mut mounts = Vec::new();
    for name in ["resolv.conf", "hostname", "hosts"] {
        let target = format!("/etc/{name}");
        // Who mounts something of their own there knows why.
        if !record.mounts.iter().any(|point| point.target == target) {
            mounts.push(PreparedMount::Bind {
                open: None,
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
        let mount = record.spec.mounts.get(index);
        if let Some(volume) = &point.volume {
            let image = || RootFs::of_image(&record.layers.lower);
            let is_filled =
                !matches!(mount.map(|mount| &mount.source), Some(MountSource::Volume { no_copy: true, .. }));
            engine.volume_start(volume, &record.id, is_filled.then_some((&image, &point.target)))?;
        }
        mounts.push(prepare_one(engine, record, index)?);
    }
    Ok(mounts)
}

fn prepare_one(engine: &Engine, record: &ContainerRecord, index: usize) -> Result<PreparedMount> {
    let (mount, point) = (record.spec.mounts.get(index), &record.mounts[index]);
    let (propagation, recursive, writable_below) = match mount.map(|mount| &mount.source) {
        Some(MountSource::Tmpfs { size, mode, options }) => {
            let mount = mount.expect("just looked at");
            return Ok(PreparedMount::tmpfs(mount, *size, *mode, options));
        }
        Some(MountSource::Bind { propagation, non_recursive, writable_below, .. }) => {
            (*propagation, !non_recursive, *writable_below)
        }
        _ => (super::Propagation::Rprivate, true, false),
    };
    let source = match mount.map(|mount| &mount.source) {
        Some(MountSource::Image { reference, subpath }) => {
            images::open(engine, record, index, reference, subpath.as_deref())?
        }
        _ => Source::of_mount(engine, mount, point)?
            .ok_or_else(|| Error::internal(format!("there is nothing to mount at {}", point.target)))?,
    };
    // What the volume's own options say holds for whoever has it.
    let is_fixed = point.volume.is_some()
        && fstatvfs(&source.fd).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY));
    Ok(PreparedMount::Bind {
        open: Some(source.fd),
        source: source.path,
        target: point.target.clone(),
        read_only: !point.writable || is_fixed,
        propagation,
        recursive,
        writable_below,
    })
}

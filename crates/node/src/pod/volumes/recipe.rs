//! What a volume is made from, worked out beforehand, and how it is made and taken away.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};

use super::claims::Claimed;
use super::file_system::{self, FileSystem};
use super::memory::{self, Memory};
use super::nfs::{self, Nfs};
use super::payload::{self, Payload};
use super::{Context, Prepared, VolumeError, atomic, empty_dir, host_path, mounting, ownership};
use crate::files::Slow;
use crate::pod::expand::Room;
use crate::runtime::FileKind;

/// How a volume is kept on the node: what there is to be taken away of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A part of the host, which stays as it is.
    HostPath,
    /// A directory of the pod's own.
    Directory,
    /// Memory of the pod's own.
    Memory,
    /// Files that this node writes, on disk.
    Files,
    /// Files that this node writes, in memory.
    FilesInMemory,
    /// What outlives the pod, where it is.
    Claimed,
    /// What outlives the pod, mounted for it.
    Mounted,
}

/// What a volume is made from.
#[derive(Clone, Debug)]
pub enum Recipe {
    /// `hostPath`.
    HostPath(HostPathVolumeSource),
    /// `emptyDir`, which belongs to `group`.
    Directory {
        /// The pod's group.
        group: Option<u32>,
    },
    /// `emptyDir` in memory.
    Memory(Memory),
    /// Objects of the API, tokens and fields of the pod.
    Files {
        /// What is shown.
        files: Payload,
        /// Who may read it besides its owner.
        group: Option<u32>,
        /// It may be secret.
        in_memory: bool,
    },
    /// `local`: a directory of the node that outlives the pod.
    Local {
        /// What the volume is called, which is not what the pod calls it.
        volume: String,
        /// Where it is.
        path: PathBuf,
        /// The group that everything in it is given to.
        group: Option<u32>,
        /// Only where it is not the group's already.
        only_if_needed: bool,
    },
    /// A device, or a file that stands for one, of the node.
    Device {
        /// What the volume is called.
        volume: String,
        /// Where it is.
        path: PathBuf,
    },
    /// `local`: a file system on a device of the node.
    FileSystem {
        /// What the volume is called.
        volume: String,
        /// What is mounted.
        file_system: FileSystem,
        /// The group that everything in it is given to.
        group: Option<u32>,
        /// Only where it is not the group's already.
        only_if_needed: bool,
    },
    /// `nfs`.
    Nfs(Nfs),
}

/// The recipes of all volumes of a pod, by name.
pub fn recipes(context: &Context<'_>) -> Result<Vec<(String, Recipe)>, VolumeError> {
    let volumes = context.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut room = Room::new(payload::MOST_BYTES);
    volumes.map(|volume| Ok((volume.name.clone(), recipe(context, volume, &mut room)?))).collect()
}

fn recipe(context: &Context<'_>, volume: &Volume, room: &mut Room) -> Result<Recipe, VolumeError> {
    if let Some(source) = &volume.host_path {
        return Ok(Recipe::HostPath(source.clone()));
    }
    if let Some(claimed) = context.claims.get(&volume.name) {
        return of_claim(context, volume, claimed);
    }
    if let Some(source) = &volume.nfs {
        return Ok(Recipe::Nfs(Nfs {
            server: source.server.clone(),
            path: source.path.clone(),
            read_only: source.read_only.unwrap_or(false),
            options: Vec::new(),
        }));
    }
    if let Some(source) = &volume.csi {
        let what = "MountVolume.SetUp failed";
        return Err(VolumeError::no_driver(
            what,
            &volume.name,
            "mounter.SetUpAt failed to get CSI client",
            &source.driver,
        ));
    }
    let group = payload::fs_group(context.pod);
    if let Some(source) = &volume.empty_dir {
        return Ok(match empty_dir::memory(context.pod, source, group) {
            Some(memory) => Recipe::Memory(memory),
            None => Recipe::Directory { group },
        });
    }
    let files = payload::payload(context, volume, room)
        .map_err(|source| VolumeError::Payload { name: volume.name.clone(), source })?
        .ok_or_else(|| VolumeError::Unsupported { name: volume.name.clone() })?;
    // What may be secret is in memory alone; names and settings need not be.
    Ok(Recipe::Files { files, group, in_memory: volume.config_map.is_none() })
}

/// A volume that the pod has by a claim.
fn of_claim(context: &Context<'_>, volume: &Volume, claimed: &Claimed) -> Result<Recipe, VolumeError> {
    let name = claimed.volume.metadata.name.clone().unwrap_or_default();
    let spec = claimed.volume.spec.clone().unwrap_or_default();
    let is_device = spec.volume_mode.as_deref() == Some("Block");
    match (spec.local, spec.host_path, spec.nfs) {
        (Some(local), _, _) if is_device => {
            let path = context.devices.get(&volume.name).cloned().unwrap_or_else(|| local.path.into());
            Ok(Recipe::Device { volume: name, path })
        }
        (Some(local), _, _) => {
            let security = context.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
            let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
            let only_if_needed = policy == Some("OnRootMismatch");
            let group = payload::fs_group(context.pod).filter(|_| !claimed.read_only);
            let path = PathBuf::from(local.path);
            if !fs::metadata(&path).is_ok_and(|found| found.file_type().is_block_device()) {
                return Ok(Recipe::Local { volume: name, path, group, only_if_needed });
            }
            let file_system = FileSystem {
                device: path,
                kind: local.fs_type.filter(|kind| !kind.is_empty()),
                options: spec.mount_options.unwrap_or_default(),
                read_only: claimed.read_only,
            };
            Ok(Recipe::FileSystem { volume: name, file_system, group, only_if_needed })
        }
        (None, Some(source), _) if !is_device => Ok(Recipe::HostPath(source)),
        (None, None, Some(source)) if !is_device => Ok(Recipe::Nfs(Nfs {
            server: source.server,
            path: source.path,
            read_only: source.read_only.unwrap_or(false) || claimed.read_only,
            options: spec.mount_options.unwrap_or_default(),
        })),
        _ => match spec.csi {
            Some(csi) => {
                let tried = "attacher.MountDevice failed to create newCsiDriverClient";
                Err(VolumeError::no_driver("MountVolume.MountDevice failed", &name, tried, &csi.driver))
            }
            None => Err(VolumeError::UnsupportedClaimed { name }),
        },
    }
}

impl Recipe {
    /// How the volume is kept.
    pub fn kind(&self) -> Kind {
        match self {
            Self::HostPath(_) => Kind::HostPath,
            Self::Directory { .. } => Kind::Directory,
            Self::Memory(_) => Kind::Memory,
            Self::Files { in_memory: false, .. } => Kind::Files,
            Self::Files { in_memory: true, .. } => Kind::FilesInMemory,
            Self::Local { .. } | Self::Device { .. } => Kind::Claimed,
            Self::FileSystem { .. } | Self::Nfs(_) => Kind::Mounted,
        }
    }

    /// Whether what a pod's containers have changed in it is theirs from then on, so that its group gets it once.
    pub(super) fn is_given_once(&self) -> bool {
        matches!(self, Self::Local { .. } | Self::Device { .. } | Self::FileSystem { .. })
    }

    /// What publishing it may wait for, if that may be very long: for a server, or for all that is in the volume.
    pub(crate) fn slow(&self, running: bool) -> Option<Slow> {
        match self {
            Self::Nfs(_) => Some(Slow::Server),
            Self::FileSystem { .. } => Some(Slow::Device),
            Self::Local { group: Some(_), .. } if !running => Some(Slow::Walk),
            _ => None,
        }
    }

    /// Makes what lies on disk of the volume, whose place is `path`.
    pub fn stage(&self, name: &str, path: &Path) -> Result<(), VolumeError> {
        match self {
            Self::HostPath(source) => host_path::prepare(name, source),
            Self::Directory { group } => empty_dir::make(name, path, *group),
            // Whoever laid the disks out may have called this one by a link.
            Self::Local { volume, path, .. } => match fs::metadata(path) {
                Ok(found) if found.is_dir() => Ok(()),
                Ok(_) => Err(VolumeError::not_a(volume, path, "directory")),
                Err(_) => Err(VolumeError::NoLocalPath { name: volume.clone(), path: path.clone() }),
            },
            Self::Device { volume, path }
            | Self::FileSystem { volume, file_system: FileSystem { device: path, .. }, .. } => {
                match fs::metadata(path) {
                    Ok(found) if found.file_type().is_block_device() => Ok(()),
                    Ok(_) => Err(VolumeError::not_a(volume, path, "block device")),
                    Err(_) => Err(VolumeError::NoLocalPath { name: volume.clone(), path: path.clone() }),
                }
            }
            // What is mounted has its directory made with it.
            Self::Memory(_) | Self::Files { .. } | Self::Nfs(_) => Ok(()),
        }
    }

    /// Mounts and writes what the pod is shown, or brings it up to date. Where containers of the pod are
    /// `running` they have what was mounted when they began, which is used where it is.
    pub fn publish(&self, name: &str, path: &Path, running: bool) -> Result<(), VolumeError> {
        let fail = |tried| {
            move |source| VolumeError::Io { name: name.to_owned(), tried, path: path.to_owned(), source }
        };
        let mount = |memory: &Memory| {
            if running && path.exists() {
                return Ok(());
            }
            memory::mount(path, memory).map_err(fail("mount memory at"))
        };
        match self {
            Self::HostPath(_) | Self::Directory { .. } | Self::Device { .. } => Ok(()),
            Self::Memory(memory) => mount(memory),
            // Containers that run have it as it was given to them when they began.
            Self::Local { .. } if running => Ok(()),
            Self::Local { path: place, group, only_if_needed, volume } => {
                give(volume, place, *group, *only_if_needed)
            }
            Self::FileSystem { volume, file_system, group, only_if_needed } => {
                file_system::mount(path, file_system)
                    .map_err(|source| VolumeError::file_system(volume, file_system, path, source))?;
                give(volume, path, group.filter(|_| !running), *only_if_needed)
            }
            Self::Nfs(nfs) => nfs::mount(path, nfs).map_err(fail("mount NFS at")),
            Self::Files { files, group, in_memory } => {
                if *in_memory {
                    mount(&Memory { mode: 0o755, ..Memory::default() })?;
                }
                atomic::write(path, files, *group).map_err(fail("write"))
            }
        }
    }

    /// What containers mount.
    pub fn shown(&self, path: &Path) -> Prepared {
        match self {
            Self::HostPath(source) => host_path::shown(source),
            Self::Directory { .. } | Self::Memory(_) => {
                Prepared { path: path.to_owned(), ..Prepared::default() }
            }
            Self::Local { path, .. } => {
                Prepared { path: path.clone(), must_be: Some(FileKind::Directory), ..Prepared::default() }
            }
            Self::Device { path, .. } => {
                Prepared { path: path.clone(), must_be: Some(FileKind::BlockDevice), ..Prepared::default() }
            }
            Self::FileSystem { file_system, .. } => {
                Prepared { path: path.to_owned(), read_only: file_system.read_only, ..Prepared::default() }
            }
            Self::Nfs(nfs) => {
                Prepared { path: path.to_owned(), read_only: nfs.read_only, ..Prepared::default() }
            }
            Self::Files { .. } => Prepared { path: path.to_owned(), must_be: None, read_only: true },
        }
    }
}

/// Gives what is in a volume to its pod's group, if there is one.
fn give(volume: &str, place: &Path, group: Option<u32>, only_if_needed: bool) -> Result<(), VolumeError> {
    let Some(group) = group else { return Ok(()) };
    ownership::give(place, group, only_if_needed).map_err(|source| VolumeError::Io {
        name: volume.to_owned(),
        tried: "applyFSGroup failed for",
        path: place.to_owned(),
        source,
    })
}

impl Kind {
    /// Unmounts what the pod was shown of a volume whose place is `path`.
    pub fn unpublish(self, path: &Path) {
        match self {
            Self::HostPath | Self::Claimed => {}
            // Also where nothing is mounted today: an earlier version, or somebody else, may have.
            Self::Directory | Self::Memory | Self::Files | Self::FilesInMemory | Self::Mounted => {
                memory::unmount(path);
            }
        }
    }

    /// Removes what lies on disk of a volume whose place is `path`. May take long.
    pub fn unstage(self, path: &Path) -> io::Result<()> {
        match self {
            Self::HostPath | Self::Claimed => Ok(()),
            Self::Mounted => mounting::remove(path),
            Self::Directory | Self::Memory | Self::Files | Self::FilesInMemory => {
                let removed = match fs::symlink_metadata(path) {
                    Ok(found) if found.is_dir() => base::tree::remove(path),
                    Ok(_) => fs::remove_file(path),
                    Err(error) => Err(error),
                };
                match removed {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, symlink};

    use super::*;

    #[test]
    fn a_local_volume_may_be_called_by_a_link_and_is_a_directory_all_the_same() {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let disk = root.path().join("disk");
        fs::create_dir_all(disk.join("deep")).expect("create");
        fs::write(root.path().join("file"), "x").expect("write");
        let local = |name: &str, target: &Path| {
            let path = root.path().join(name);
            symlink(target, &path).expect("link");
            Recipe::Local { volume: "v".to_owned(), path, group: Some(4711), only_if_needed: false }
        };
        let place = root.path().join("place");
        let link = local("link", &disk);
        link.stage("data", &place).expect("it is there");
        link.publish("data", &place, false).expect("it is given to the group");
        for given in [&disk, &disk.join("deep")] {
            assert_eq!(fs::metadata(given).expect("stat").gid(), 4711);
        }
        assert_eq!(fs::symlink_metadata(root.path().join("link")).expect("stat").gid(), 0);

        let refused = |recipe: &Recipe| recipe.stage("data", &place).expect_err("refused").to_string();
        let file = refused(&local("to-a-file", &root.path().join("file")));
        assert!(file.contains("is not a directory"), "{file}");
        let nowhere = refused(&local("to-nowhere", &root.path().join("nowhere")));
        assert!(nowhere.contains("does not exist"), "{nowhere}");
    }
}

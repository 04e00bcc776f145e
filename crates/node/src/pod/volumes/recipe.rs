//! What a volume is made from, worked out beforehand, and how it is made and taken away.

use std::fs;
use std::io;
use std::path::Path;

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};

use super::memory::{self, Memory};
use super::payload::{self, Payload};
use super::{Context, Prepared, VolumeError, atomic, empty_dir, host_path};
use crate::pod::expand::Room;

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

impl Recipe {
    /// How the volume is kept.
    pub fn kind(&self) -> Kind {
        match self {
            Self::HostPath(_) => Kind::HostPath,
            Self::Directory { .. } => Kind::Directory,
            Self::Memory(_) => Kind::Memory,
            Self::Files { in_memory: false, .. } => Kind::Files,
            Self::Files { in_memory: true, .. } => Kind::FilesInMemory,
        }
    }

    /// Makes what lies on disk of the volume, whose place is `path`.
    pub fn stage(&self, name: &str, path: &Path) -> Result<(), VolumeError> {
        match self {
            Self::HostPath(source) => host_path::prepare(name, source),
            Self::Directory { group } => empty_dir::make(name, path, *group),
            // What is mounted has its directory made with it.
            Self::Memory(_) | Self::Files { .. } => Ok(()),
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
            Self::HostPath(_) | Self::Directory { .. } => Ok(()),
            Self::Memory(memory) => mount(memory),
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
            Self::Files { .. } => Prepared { path: path.to_owned(), must_be: None, read_only: true },
        }
    }
}

impl Kind {
    /// Unmounts what the pod was shown of a volume whose place is `path`.
    pub fn unpublish(self, path: &Path) {
        match self {
            Self::HostPath => {}
            // Also where nothing is mounted today: an earlier version, or somebody else, may have.
            Self::Directory | Self::Memory | Self::Files | Self::FilesInMemory => memory::unmount(path),
        }
    }

    /// Removes what lies on disk of a volume whose place is `path`. May take long.
    pub fn unstage(self, path: &Path) -> io::Result<()> {
        match self {
            Self::HostPath => Ok(()),
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

//! A pod's volumes on the host: made before its first container, kept current, removed with it.
//!
//! Everything lies below `<root>/pods/<uid>/volumes/<name>`. What a volume shows is worked out by
//! the pure [`payload`]; [`atomic`] puts it on disk so that a container never sees half of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume};

pub mod atomic;
mod empty_dir;
pub mod memory;
pub mod payload;

use memory::Memory;
use payload::{PayloadError, Tokens};

use super::downward::NodeCapacity;
use super::env::Sources;
use super::expand::Room;
use crate::runtime::FileKind;

/// Why a volume cannot be made. The kubelet calls this `FailedMount`.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What it should show is not there.
    #[error("MountVolume.SetUp failed for volume \"{name}\"")]
    Payload {
        /// The volume.
        name: String,
        /// What is missing.
        source: PayloadError,
    },
    /// The disk or the kernel refused.
    #[error("MountVolume.SetUp failed for volume \"{name}\": {tried} {}", path.display())]
    Io {
        /// The volume.
        name: String,
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A `hostPath` that is not what its type says.
    #[error("MountVolume.SetUp failed for volume \"{name}\": hostPath type check failed: {} is not {expected}", path.display())]
    HostPathType {
        /// The volume.
        name: String,
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// A kind of volume that this node does not have.
    #[error(
        "volume \"{name}\" is of a kind that this node does not support; use emptyDir, hostPath, configMap, secret, downwardAPI or projected"
    )]
    Unsupported {
        /// The volume.
        name: String,
    },
}

/// What volumes are made from, besides the pod.
pub struct Context<'a> {
    /// The pod, with the addresses in its status filled in.
    pub pod: &'a Pod,
    /// ConfigMaps and Secrets that it refers to.
    pub sources: &'a Sources,
    /// Service-account tokens by volume and path.
    pub tokens: &'a Tokens,
    /// What the node can give.
    pub node: NodeCapacity,
    /// Where the pod's volumes are.
    pub directory: &'a Path,
    /// Containers of the pod run, with the volumes that are there.
    pub running: bool,
}

/// A volume that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Where it is on the host.
    pub path: PathBuf,
    /// What it must be when it is mounted, where its `hostPath` says so.
    pub must_be: Option<FileKind>,
    /// Nobody but this node writes to it: it shows objects of the API.
    pub read_only: bool,
}

/// Makes all volumes of the pod, or brings them up to date; returns them by name.
///
/// May be called any number of times: memory stays mounted, files that did not change stay.
pub fn prepare(context: &Context<'_>) -> Result<BTreeMap<String, Prepared>, VolumeError> {
    let volumes = context.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut room = Room::new(payload::MOST_BYTES);
    volumes.map(|volume| Ok((volume.name.clone(), prepare_one(context, volume, &mut room)?))).collect()
}

/// Unmounts and removes all volumes below `directory`; nothing happens where there are none.
pub fn remove(directory: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        memory::unmount(&entry?.path());
    }
    base::tree::remove(directory)
}

/// The names of ConfigMaps and Secrets that the pod's volumes show.
pub fn references(pod: &Pod) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        config_maps.extend(volume.config_map.as_ref().map(|source| source.name.clone()));
        secrets.extend(volume.secret.as_ref().and_then(|source| source.secret_name.clone()));
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for source in projected {
            config_maps.extend(source.config_map.as_ref().map(|source| source.name.clone()));
            secrets.extend(source.secret.as_ref().map(|source| source.name.clone()));
        }
    }
    (config_maps, secrets)
}

fn prepare_one(context: &Context<'_>, volume: &Volume, room: &mut Room) -> Result<Prepared, VolumeError> {
    let path = context.directory.join(&volume.name);
    if let Some(source) = &volume.host_path {
        return host_path(&volume.name, source);
    }
    if let Some(source) = &volume.empty_dir {
        empty_dir::prepare(context, &volume.name, &path, source)?;
        return Ok(Prepared { path, ..Prepared::default() });
    }
    let payload = payload::payload(context, volume, room)
        .map_err(|source| VolumeError::Payload { name: volume.name.clone(), source })?
        .ok_or_else(|| VolumeError::Unsupported { name: volume.name.clone() })?;
    let fail = |tried| {
        let (name, path) = (volume.name.clone(), path.clone());
        move |source| VolumeError::Io { name, tried, path, source }
    };
    // What may be secret is in memory alone; names and settings need not be. Containers that run
    // have what was mounted when they began, which is brought up to date where it is.
    let in_memory = volume.config_map.is_none();
    if in_memory && !(context.running && path.exists()) {
        memory::mount(&path, &Memory { mode: 0o755, ..Memory::default() })
            .map_err(fail("mount memory at"))?;
    }
    atomic::write(&path, &payload, fs_group(context.pod)).map_err(fail("write"))?;
    Ok(Prepared { path, must_be: None, read_only: true })
}

fn fs_group(pod: &Pod) -> Option<u32> {
    i32::try_from(pod.spec.as_ref()?.security_context.as_ref()?.fs_group?).ok()?.try_into().ok()
}

fn host_path(name: &str, source: &HostPathVolumeSource) -> Result<Prepared, VolumeError> {
    let path = PathBuf::from(&source.path);
    let fail = |tried: &'static str| {
        let path = path.clone();
        move |source: io::Error| VolumeError::Io { name: name.to_owned(), tried, path, source }
    };
    let wrong = |expected| VolumeError::HostPathType { name: name.to_owned(), path: path.clone(), expected };
    let kind = fs::metadata(&path).ok().map(|metadata| metadata.file_type());
    use std::os::unix::fs::FileTypeExt as _;
    let holds = |test: fn(&fs::FileType) -> bool| kind.as_ref().is_some_and(test);
    match source.type_.as_deref().unwrap_or("") {
        "DirectoryOrCreate" if kind.is_none() => {
            fs::create_dir_all(&path).map_err(fail("create"))?;
        }
        "FileOrCreate" if kind.is_none() => {
            fs::File::create(&path).map_err(fail("create"))?;
        }
        "Directory" | "DirectoryOrCreate" if !holds(fs::FileType::is_dir) => {
            return Err(wrong("a directory"));
        }
        "File" | "FileOrCreate" if !holds(fs::FileType::is_file) => return Err(wrong("a file")),
        "Socket" if !holds(fs::FileType::is_socket) => return Err(wrong("a socket file")),
        "CharDevice" if !holds(fs::FileType::is_char_device) => return Err(wrong("a character device")),
        "BlockDevice" if !holds(fs::FileType::is_block_device) => return Err(wrong("a block device")),
        // No type, no check: what is not there becomes a directory, as containers expect.
        "" if kind.is_none() => fs::create_dir_all(&path).map_err(fail("create"))?,
        _ => {}
    }
    // Looked at once more when it is mounted, since others may change it meanwhile.
    let must_be = match source.type_.as_deref().unwrap_or("") {
        "Directory" | "DirectoryOrCreate" => Some(FileKind::Directory),
        "File" | "FileOrCreate" => Some(FileKind::File),
        "Socket" => Some(FileKind::Socket),
        "CharDevice" => Some(FileKind::CharDevice),
        "BlockDevice" => Some(FileKind::BlockDevice),
        _ => None,
    };
    Ok(Prepared { path, must_be, read_only: false })
}

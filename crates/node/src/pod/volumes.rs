//! A pod's volumes on the host: made before its first container, kept current, removed with it.
//!
//! Everything lies below `<root>/pods/<uid>/volumes/<name>`. What is next for a volume is said by the pure
//! [`life`], what it is made from by its [`Recipe`], and what it shows by the pure [`payload`]; [`atomic`] puts
//! that on disk so that a container never sees half of it. [`Volumes`] goes through all of it, and writes down
//! what there may be before it is made.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

use base::RecordError;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

pub mod atomic;
pub mod claims;
mod empty_dir;
pub mod file_system;
mod host_path;
mod keeper;
pub mod life;
pub mod memory;
mod mounting;
pub mod nfs;
mod ownership;
pub mod payload;
pub mod recipe;

pub(crate) use keeper::{Recorded, Volumes};
pub use life::Phase;
pub use recipe::{Kind, Recipe};

use file_system::{FileSystem, FileSystemError};
use payload::{PayloadError, Tokens};

use super::downward::NodeCapacity;
use super::env::Sources;
use crate::runtime::FileKind;

/// What is said of a volume that ends with its pod and is on the disk, if it is one.
pub(crate) fn own_on_disk(volume: &Volume) -> Option<&EmptyDirVolumeSource> {
    volume.empty_dir.as_ref().filter(|empty| empty.medium.as_deref().is_none_or(str::is_empty))
}

/// Why a volume cannot be made. The kubelet calls this `FailedMount`.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// What it should show is not there.
    #[error("MountVolume.SetUp failed for volume \"{name}\" ")]
    Payload {
        /// The volume.
        name: String,
        /// What is missing.
        source: PayloadError,
    },
    /// The disk or the kernel refused.
    #[error("MountVolume.SetUp failed for volume \"{name}\" : {tried} {}", path.display())]
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
    #[error("MountVolume.SetUp failed for volume \"{name}\" : hostPath type check failed: {} is not {expected}", path.display())]
    HostPathType {
        /// The volume.
        name: String,
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Work on it goes on, and nobody waits for it any more.
    #[error(
        "MountVolume.SetUp failed for volume \"{name}\" : timed out waiting for the condition: a server or a disk does not answer, or much is in it; the work goes on"
    )]
    Slow {
        /// The volume, or the directory of all of the pod's.
        name: String,
    },
    /// Too much of the same is under way.
    #[error("MountVolume.SetUp failed for volume \"{name}\" ")]
    Busy {
        /// The volume.
        name: String,
        /// What is.
        source: offload::Busy,
    },
    /// What is written down of the pod's volumes cannot be read: what there is of them is not known.
    #[error("read what is known of the pod's volumes in {}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// What there is of the pod's volumes cannot be written down, or taken away.
    #[error("{tried} {}", path.display())]
    Pod {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A kind of volume that this node does not have.
    #[error(
        "volume \"{name}\" is of a kind that this node does not support; use emptyDir, hostPath, configMap, secret, downwardAPI, projected, persistentVolumeClaim, ephemeral or nfs"
    )]
    Unsupported {
        /// The volume.
        name: String,
    },
    /// A kind of persistent volume that this node does not have.
    #[error(
        "MountVolume.SetUp failed for volume \"{name}\" : no volume plugin matched: this node has local, hostPath and nfs, and of these only local as devices"
    )]
    UnsupportedClaimed {
        /// The volume.
        name: String,
    },
    /// A driver that is not on this node.
    #[error(
        "{what} for volume \"{name}\" : kubernetes.io/csi: {tried}: driver name {driver} not found in the list of registered CSI drivers"
    )]
    NoDriver {
        /// What could not be done.
        what: &'static str,
        /// The volume.
        name: String,
        /// What was tried.
        tried: &'static str,
        /// The driver.
        driver: String,
    },
    /// A device whose file system cannot be mounted.
    #[error(
        "MountVolume.MountDevice failed for volume \"{name}\" : local: failed to mount device {} at {} (fstype: {kind})",
        device.display(), path.display()
    )]
    FileSystem {
        /// The volume.
        name: String,
        /// The device.
        device: PathBuf,
        /// Where it is to be.
        path: PathBuf,
        /// What it is said to have on it.
        kind: String,
        /// Why.
        source: FileSystemError,
    },
    /// A `local` volume of something that is not there.
    #[error("MountVolume.NewMounter initialization failed for volume \"{name}\" : path \"{}\" does not exist", path.display())]
    NoLocalPath {
        /// The volume.
        name: String,
        /// The path.
        path: PathBuf,
    },
    /// A `local` volume of something else than it says.
    #[error("MountVolume.SetUp failed for volume \"{name}\" : path \"{}\" is not a {expected}", path.display())]
    LocalPathKind {
        /// The volume.
        name: String,
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
}

impl VolumeError {
    fn no_driver(what: &'static str, name: &str, tried: &'static str, driver: &str) -> Self {
        Self::NoDriver { what, name: name.to_owned(), tried, driver: driver.to_owned() }
    }

    fn file_system(name: &str, of: &FileSystem, path: &std::path::Path, source: FileSystemError) -> Self {
        Self::FileSystem {
            name: name.to_owned(),
            device: of.device.clone(),
            path: path.to_owned(),
            kind: of.kind.clone().unwrap_or_else(|| "auto".to_owned()),
            source,
        }
    }

    fn not_a(name: &str, path: &std::path::Path, expected: &'static str) -> Self {
        Self::LocalPathKind { name: name.to_owned(), path: path.to_owned(), expected }
    }
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
    /// What the pod has by claims, by the names of its volumes.
    pub claims: &'a BTreeMap<String, claims::Claimed>,
    /// The devices that stand for files, likewise.
    pub devices: &'a BTreeMap<String, PathBuf>,
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

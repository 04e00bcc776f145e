//! A pod's volumes on the host: made before its first container, kept current, removed with it.
//!
//! Everything lies below `<root>/pods/<uid>/volumes/<name>`. What is next for a volume is said by the pure
//! [`life`], what it is made from by its [`Recipe`], and what it shows by the pure [`payload`]; [`atomic`] puts
//! that on disk so that a container never sees half of it. [`Volumes`] goes through all of it, and writes down
//! what there may be before it is made.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use base::RecordError;
use k8s_openapi::api::core::v1::Pod;

pub mod atomic;
mod empty_dir;
mod host_path;
mod keeper;
pub mod life;
pub mod memory;
pub mod payload;
pub mod recipe;

pub(crate) use keeper::{Recorded, Volumes};
pub use life::Phase;
pub use recipe::{Kind, Recipe};

use payload::{PayloadError, Tokens};

use super::downward::NodeCapacity;
use super::env::Sources;
use crate::runtime::FileKind;

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

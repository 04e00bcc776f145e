//! Volumes: directories of the host that outlive containers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::{PruneFilter, Pruned};
use crate::engine::Engine;
use crate::error::Result;

/// What a volume should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeSpec {
    /// Its name; one is made up (and the volume is anonymous) where there is none.
    pub name: Option<String>,
    /// `local` where empty, the only one there is.
    pub driver: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `type`, `o`, `device`: what is mounted as the volume instead of a plain directory.
    pub options: BTreeMap<String, String>,
}

/// A volume.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its driver.
    pub driver: String,
    /// Where its files are on the host.
    pub path: PathBuf,
    /// When it was made.
    pub created: Timestamp,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Options.
    pub options: BTreeMap<String, String>,
    /// It was made without a name.
    pub anonymous: bool,
    /// Its use, where it was asked for.
    pub usage: Option<VolumeUsage>,
}

/// How a volume is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Bytes.
    pub size: u64,
    /// Containers that have it.
    pub containers: usize,
}

/// Which volumes to list: all conditions must hold; an empty list is no condition.
#[derive(Clone, Debug, Default)]
pub struct VolumeFilter {
    /// Parts of names, one of.
    pub names: Vec<String>,
    /// Labels (`key` or `key=value`), all of.
    pub labels: Vec<String>,
    /// Drivers, one of.
    pub drivers: Vec<String>,
    /// Whether no container has it.
    pub dangling: Option<bool>,
}

impl Engine {
    /// Makes a volume; the one that exists where its name is taken.
    pub async fn volume_create(&self, spec: VolumeSpec) -> Result<Arc<Volume>> {
        let _ = spec;
        todo!()
    }

    /// A volume by its name. `get …: no such volume` where there is none.
    pub fn volume_inspect(&self, name: &str) -> Result<Arc<Volume>> {
        let _ = name;
        todo!()
    }

    /// The volumes that `filter` lets through, by name.
    pub fn volume_list(&self, filter: &VolumeFilter) -> Vec<Arc<Volume>> {
        let _ = filter;
        todo!()
    }

    /// Removes a volume that no container has; with `force` one that is not there counts as removed.
    pub async fn volume_remove(&self, name: &str, force: bool) -> Result<()> {
        let _ = (name, force);
        todo!()
    }

    /// Removes volumes that no container has: anonymous ones, or with `all` every one.
    pub async fn volume_prune(&self, filter: PruneFilter, all: bool) -> Result<Pruned> {
        let _ = (filter, all);
        todo!()
    }
}

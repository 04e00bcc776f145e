//! The records themselves.

use base::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::life::Life;
use crate::container::{ContainerSpec, Health, MountPoint, ResolvedSpec};
use crate::id::{ContainerId, SandboxId};
use crate::network::EndpointSpec;
use crate::sandbox::SandboxSpec;
use crate::volume::VolumeSpec;

/// The version of records that is written, but for containers'; older ones are read too.
pub(crate) const VERSION: u32 = 1;
/// The version of containers' records. Version 1 had also what [`LifeRecord`] has.
pub(crate) const CONTAINER_VERSION: u32 = 2;

/// The version of a sandbox's record that has users of its own: who does not know what that is must
/// not run its containers as the host's users. The others have [`VERSION`].
pub(crate) const SANDBOX_VERSION: u32 = 2;

/// The engine as such.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EngineRecord {
    pub(crate) version: u32,
    pub(crate) id: String,
}

/// A container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// The sandbox it lives in; its own, where `spec.sandbox` is absent.
    pub(crate) sandbox: SandboxId,
    pub(crate) spec: ContainerSpec,
    pub(crate) resolved: ResolvedSpec,
    #[serde(default, skip_serializing)]
    pub(crate) life: Life,
    #[serde(default, skip_serializing)]
    pub(crate) health: Option<Health>,
    pub(crate) mounts: Vec<MountPoint>,
    /// Volumes made for it alone.
    pub(crate) anonymous_volumes: Vec<String>,
    /// The networks that it joins when it starts, by name, in order of the first one first.
    pub(crate) networks: Vec<(String, EndpointSpec)>,
    /// The image store's directories: lower ones topmost first, then its own.
    pub(crate) layers: Layers,
    /// The number of the project whose quota limits its root file system. It is not asked of the files,
    /// which whoever is inside may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<u32>,
    /// The boot of the machine in which it was made; empty if that was before this was written down.
    #[serde(default)]
    pub(crate) made_in: String,
    /// The boot of the machine in which it was last started.
    #[serde(default, skip_serializing)]
    pub(crate) boot: String,
}

/// What became of a container. It changes often, and is flushed only where it must outlive the
/// machine's power.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LifeRecord {
    pub(crate) version: u32,
    pub(crate) life: Life,
    #[serde(default)]
    pub(crate) health: Option<Health>,
    #[serde(default)]
    pub(crate) boot: String,
}

impl LifeRecord {
    pub(crate) fn of(record: &ContainerRecord) -> Self {
        Self {
            version: VERSION,
            life: record.life.clone(),
            health: record.health.clone(),
            boot: record.boot.clone(),
        }
    }

    pub(crate) fn apply(self, record: &mut ContainerRecord) {
        record.life = self.life;
        record.health = self.health;
        record.boot = self.boot;
    }
}

/// The directories of a container's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layers {
    pub(crate) lower: Vec<std::path::PathBuf>,
    pub(crate) upper: std::path::PathBuf,
    pub(crate) work: std::path::PathBuf,
}

/// A sandbox that was made as such.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    pub(crate) created: Timestamp,
    pub(crate) spec: SandboxSpec,
    /// The first id of its block of the host's user ids, if it has users of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_id: Option<u32>,
}

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) version: u32,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) spec: VolumeSpec,
    pub(crate) anonymous: bool,
    /// What is in it was taken from an image, or it is not to be filled.
    #[serde(default)]
    pub(crate) filled: bool,
    /// What it is filled with is complete, beside its place, and moves there piece by piece.
    #[serde(default)]
    pub(crate) filling: bool,
    /// As [`ContainerRecord::project`], of its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<u32>,
}

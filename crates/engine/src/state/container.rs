//! A container's two files: what it should be, and what became of it.

use std::path::{Path, PathBuf};

use base::record::Record;
use base::{RecordError, Timestamp};
use serde::{Deserialize, Serialize};

use super::life::{Health, Life};
use super::mount_point::MountPoint;
use super::resolved::Resolved;
use super::spec::{Endpoint, Spec};
use super::{STATE_FILE, load, save, save_durably};
use crate::container::{self, ContainerRecord, RestartPolicy};
use crate::error::{Context, Result};
use crate::id::{ContainerId, SandboxId};
use crate::rootfs;

/// The name of the file that says what became of a container.
const LIFE_FILE: &str = "life.json";

/// `containers/<id>/state.json`. Version 1 had also what [`LifeFile`] has.
#[derive(Serialize, Deserialize)]
pub(crate) struct ContainerFile {
    id: ContainerId,
    name: String,
    created: Timestamp,
    sandbox: SandboxId,
    spec: Spec,
    resolved: Resolved,
    mounts: Vec<MountPoint>,
    anonymous_volumes: Vec<String>,
    networks: Vec<(String, Endpoint)>,
    layers: Layers,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    project: Option<u32>,
    #[serde(default)]
    made_in: String,
    /// Of version 1 only, and not even there where it has been written anew since.
    #[serde(skip)]
    fate: Option<LifeFile>,
}

/// `containers/<id>/life.json`.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct LifeFile {
    #[serde(default)]
    life: Life,
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    boot: String,
}

#[derive(Serialize, Deserialize)]
struct Layers {
    lower: Vec<PathBuf>,
    upper: PathBuf,
    work: PathBuf,
}

base::same_fields!(Layers = rootfs::Layers { lower, upper, work });

impl Record for ContainerFile {
    const KNOWN: u32 = 2;

    fn parse(version: u32, document: &[u8]) -> Result<Self, serde_json::Error> {
        let mut file: Self = serde_json::from_slice(document)?;
        if version == 1 {
            file.fate = Some(serde_json::from_slice(document)?);
        }
        Ok(file)
    }
}

impl Record for LifeFile {
    const KNOWN: u32 = 1;
}

impl From<&ContainerRecord> for ContainerFile {
    fn from(record: &ContainerRecord) -> Self {
        // What became of it has a file of its own.
        let ContainerRecord {
            id,
            name,
            created,
            sandbox,
            mut spec,
            kept,
            resolved,
            life: _,
            health: _,
            mounts,
            anonymous_volumes,
            networks,
            layers,
            project,
            made_in,
            boot: _,
        } = record.clone();
        // One that is kept is like any other from then on.
        spec.transient &= !kept;
        Self {
            id,
            name,
            created,
            sandbox,
            spec: spec.into(),
            resolved: resolved.into(),
            mounts: mounts.into_iter().map(Into::into).collect(),
            anonymous_volumes,
            networks: networks.into_iter().map(|(name, endpoint)| (name, endpoint.into())).collect(),
            layers: layers.into(),
            project,
            made_in,
            fate: None,
        }
    }
}

impl From<ContainerFile> for ContainerRecord {
    fn from(file: ContainerFile) -> Self {
        let ContainerFile {
            id,
            name,
            created,
            sandbox,
            spec,
            resolved,
            mounts,
            anonymous_volumes,
            networks,
            layers,
            project,
            made_in,
            fate,
        } = file;
        let mut record = Self {
            id,
            name,
            created,
            sandbox,
            spec: spec.into(),
            kept: false,
            resolved: resolved.into(),
            life: container::life::Life::default(),
            health: None,
            mounts: mounts.into_iter().map(Into::into).collect(),
            anonymous_volumes,
            networks: networks.into_iter().map(|(name, endpoint)| (name, endpoint.into())).collect(),
            layers: layers.into(),
            project,
            made_in,
            boot: String::new(),
        };
        fate.unwrap_or_default().apply(&mut record);
        record
    }
}

impl LifeFile {
    pub(super) fn of(record: &ContainerRecord) -> Self {
        let mut life = Life::from(record.life.clone());
        life.kept = record.kept;
        Self { life, health: record.health.clone().map(Into::into), boot: record.boot.clone() }
    }

    pub(super) fn apply(self, record: &mut ContainerRecord) {
        let Self { life, health, boot } = self;
        record.kept |= life.kept;
        record.life = life.into();
        record.health = health.map(Into::into);
        record.boot = boot;
    }
}

/// Writes down what became of a container. The kernel brings it to disk in its own time, but for what
/// keeps a restart policy from starting it again: that is on disk when this returns.
pub(crate) fn save_life(directory: &Path, record: &ContainerRecord) -> Result<()> {
    let path = directory.join(LIFE_FILE);
    let life = LifeFile::of(record);
    if record.life.halted && record.spec.restart != RestartPolicy::No {
        save_durably(&path, &life)
    } else {
        save(&path, &life)
    }
}

/// Brings to disk what became of a container.
pub(crate) fn flush_life(directory: &Path) -> Result<()> {
    let path = directory.join(LIFE_FILE);
    std::fs::File::open(&path)
        .and_then(|file| file.sync_all())
        .and_then(|()| base::fs::sync_dir(directory))
        .context(|| format!("flush `{}`", path.display()))
}

/// Whether what became of a container has a file: where its record has version 1, it may be in that.
pub(crate) fn has_life(directory: &Path) -> bool {
    directory.join(LIFE_FILE).exists()
}

/// Reads the records of the container in `directory`.
///
/// What became of it may have been lost with the machine's power, but not that something did: it
/// then counts as running, until its shim or the lack of one shows what is true.
pub(crate) fn load_container(directory: &Path) -> Result<ContainerRecord, RecordError> {
    let mut record = ContainerRecord::from(load::<ContainerFile>(&directory.join(STATE_FILE))?);
    match load::<LifeFile>(&directory.join(LIFE_FILE)) {
        Ok(life) => life.apply(&mut record),
        Err(RecordError::Missing) => {}
        Err(error @ RecordError::Newer { .. }) => return Err(error),
        Err(RecordError::Io(_) | RecordError::Damaged(_)) => {
            record.life = container::life::Life::unknown(record.created);
        }
    }
    Ok(record)
}

//! The volumes of a pod.

use std::collections::BTreeMap;

use base::record::Record;
use serde::{Deserialize, Serialize};

use crate::pod::volumes;

/// `pods/<uid>/volumes.json`.
#[derive(Serialize, Deserialize)]
pub(crate) struct VolumesFile {
    volumes: BTreeMap<String, Volume>,
}

impl Record for VolumesFile {
    const KNOWN: u32 = 2;

    fn version(&self) -> u32 {
        // What outlives the pod came with the second.
        let later = |volume: &Volume| matches!(volume.kind, Kind::Claimed | Kind::Mounted);
        if self.volumes.values().any(later) { 2 } else { 1 }
    }
}

#[derive(Serialize, Deserialize)]
struct Volume {
    kind: Kind,
    phase: Phase,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    HostPath,
    Directory,
    Memory,
    Files,
    FilesInMemory,
    Claimed,
    Mounted,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Phase {
    Staging,
    Staged,
    Publishing,
    Published,
    Unpublishing,
    Unstaging,
}

base::same_fields!(Volume = volumes::Recorded { kind: inner, phase: inner });
base::same_variants!(
    Kind = volumes::Kind { HostPath, Directory, Memory, Files, FilesInMemory, Claimed, Mounted }
);
base::same_variants!(
    Phase = volumes::Phase { Staging, Staged, Publishing, Published, Unpublishing, Unstaging }
);

impl From<&BTreeMap<String, volumes::Recorded>> for VolumesFile {
    fn from(of: &BTreeMap<String, volumes::Recorded>) -> Self {
        Self { volumes: of.iter().map(|(name, &volume)| (name.clone(), volume.into())).collect() }
    }
}

impl From<VolumesFile> for BTreeMap<String, volumes::Recorded> {
    fn from(file: VolumesFile) -> Self {
        file.volumes.into_iter().map(|(name, volume)| (name, volume.into())).collect()
    }
}

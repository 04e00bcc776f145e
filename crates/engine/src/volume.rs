//! Volumes: directories of the host that outlive containers.

mod copy;
mod create;
mod fill;
pub(crate) mod list;
mod prune;
mod remove;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::error::{Context, Result};
use crate::state::{self, Layout, VolumeRecord};

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

impl Volume {
    /// The kind of file system that it is, where it is not a directory of the host.
    pub(crate) fn filesystem(&self) -> Option<&str> {
        let kind = self.options.get("type").map(String::as_str);
        kind.filter(|kind| !matches!(*kind, "" | "none" | "bind"))
    }
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

/// All volumes, by name.
pub(crate) struct Volumes {
    known: Mutex<BTreeMap<String, Known>>,
}

struct Known {
    record: VolumeRecord,
    view: Arc<Volume>,
    /// Held while an empty volume is filled from an image.
    filling: Arc<Mutex<()>>,
}

/// The file with a volume's record.
const RECORD: &str = "volume.json";
/// The directory with a volume's files.
const DATA: &str = "_data";

impl Volumes {
    /// Reads the volumes that there are; what was half made or half removed is cleared away.
    pub(crate) fn open(layout: &Layout) -> Result<Self> {
        let mut known = BTreeMap::new();
        let directory = layout.volumes();
        let tried = || format!("read `{}`", directory.display());
        for entry in std::fs::read_dir(&directory).context(tried)? {
            let path = entry.context(tried)?.path();
            if !path.join(RECORD).exists() {
                crate::container::remove_directory(&path)?;
                continue;
            }
            match state::load::<VolumeRecord>(&path.join(RECORD)) {
                Ok(record) => {
                    known.insert(record.name.clone(), Known::new(layout, record));
                }
                // One that cannot be read must not hide the others, nor be removed.
                Err(error) => tracing::error!(error = %base::error::chain(&error), "a volume is left out"),
            }
        }
        Ok(Self { known: Mutex::new(known) })
    }
}

impl Known {
    fn new(layout: &Layout, record: VolumeRecord) -> Self {
        let view = Arc::new(Volume {
            name: record.name.clone(),
            driver: "local".to_owned(),
            path: layout.volume(&record.name).join(DATA),
            created: record.created,
            labels: record.spec.labels.clone(),
            options: record.spec.options.clone(),
            anonymous: record.anonymous,
            usage: None,
        });
        Self { record, view, filling: Arc::default() }
    }
}

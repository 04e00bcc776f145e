//! Volumes: directories of the host that outlive containers.

mod adopt;
mod copy;
mod create;
mod fill;
pub(crate) mod list;
mod mount;
mod options;
mod prune;
mod remove;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use base::{RecordError, Timestamp, Trouble};
use parking_lot::Mutex;

use crate::container::MountPoint;
use crate::id::ContainerId;
use crate::places::Places;
use crate::state::{self, VolumeFile};

pub(crate) use mount::Held;

/// What a volume should be.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// Whether something is mounted in its place while it is used: a file system, or a directory of the host.
    pub(crate) fn is_mounted(&self) -> bool {
        ["type", "device"].iter().any(|key| self.options.get(*key).is_some_and(|value| !value.is_empty()))
    }

    /// Whether what is in it goes with the last who uses it.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.options.get("type").is_some_and(|kind| matches!(kind.as_str(), "tmpfs" | "ramfs"))
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

/// What the engine keeps of a volume.
#[derive(Clone, Debug)]
pub(crate) struct VolumeRecord {
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) spec: VolumeSpec,
    pub(crate) anonymous: bool,
    /// What is in it was taken from an image, or it is not to be filled.
    pub(crate) filled: bool,
    /// What it is filled with is complete, beside its place, and moves there piece by piece.
    pub(crate) filling: bool,
    /// The number of the project whose quota limits its directory.
    pub(crate) project: Option<u32>,
}

/// All volumes, by name, and who has them.
pub(crate) struct Volumes {
    known: Mutex<BTreeMap<String, Known>>,
    /// Held while a volume is made or removed. The disk is waited for under this, never under the other.
    changing: Mutex<()>,
}

struct Known {
    record: VolumeRecord,
    view: Arc<Volume>,
    /// The containers that have it, in whatever state they are. One is among them before its own
    /// record is written, so that nobody removes the volume in between.
    users: BTreeSet<ContainerId>,
    /// Held while an empty volume is filled from an image.
    filling: Arc<Mutex<()>>,
    /// Held while it is mounted or unmounted, which may take as long as somebody's server likes.
    mounting: Arc<Mutex<()>>,
    /// The containers that run with it.
    running: BTreeSet<ContainerId>,
    /// How many look into it otherwise.
    held: usize,
}

/// The file with a volume's record.
pub(crate) const RECORD: &str = "volume.json";
/// The directory with a volume's files.
pub(crate) const DATA: &str = "_data";
/// Where a volume's files are put together while it is filled.
const FILLING: &str = "_filling";

impl Volumes {
    /// Reads the volumes that there are, and finishes what was being made. A directory that has files
    /// but no record, such as one that was copied here, becomes a volume; what cannot be read is left
    /// alone and told.
    pub(crate) fn open(places: &Places, now: Timestamp, troubles: &mut Vec<Trouble>) -> Self {
        let directory = places.volumes();
        for (path, error) in state::finish::<VolumeFile>(&directory, RECORD) {
            troubles.push(Trouble::new("a volume that was being made or removed", &path, &error));
        }
        let found = crate::trouble::records(&directory, "volume", troubles, |path| {
            match state::load::<VolumeFile>(&path.join(RECORD)) {
                Err(RecordError::Missing) => adopt::adopt(path, now).ok_or(RecordError::Missing),
                read => read.map(VolumeRecord::from),
            }
        });
        let mut known = BTreeMap::new();
        for (name, record) in found.unwrap_or_default() {
            match record {
                Some(record) if record.name == name => {
                    known.insert(name, Known::new(places, record));
                }
                Some(_) => {
                    let path = directory.join(&name);
                    troubles.push(Trouble::saying(
                        format!("volume {name}"),
                        &path,
                        "its record is of another",
                    ));
                }
                None => {}
            }
        }
        Self { known: Mutex::new(known), changing: Mutex::new(()) }
    }

    /// Counts a container that has volumes.
    pub(crate) fn readmit_user(&self, container: &ContainerId, volumes: BTreeSet<String>, is_active: bool) {
        let mut known = self.known.lock();
        for name in volumes {
            if let Some(volume) = known.get_mut(&name) {
                volume.users.insert(container.clone());
                if is_active {
                    volume.running.insert(container.clone());
                }
            }
        }
    }

    /// A container is gone, or never came to be: it has no volume any more.
    pub(crate) fn forget_user(&self, container: &ContainerId) {
        for volume in self.known.lock().values_mut() {
            volume.users.remove(container);
        }
    }
}

/// The volumes among the mounts of a container.
pub(crate) fn names_of(mounts: &[MountPoint]) -> BTreeSet<String> {
    mounts.iter().filter_map(|point| point.volume.clone()).collect()
}

impl Known {
    fn new(places: &Places, record: VolumeRecord) -> Self {
        let view = Arc::new(Volume {
            name: record.name.clone(),
            driver: "local".to_owned(),
            path: places.volume(&record.name).join(DATA),
            created: record.created,
            labels: record.spec.labels.clone(),
            options: record.spec.options.clone(),
            anonymous: record.anonymous,
            usage: None,
        });
        Self {
            record,
            view,
            users: BTreeSet::new(),
            filling: Arc::default(),
            mounting: Arc::default(),
            running: BTreeSet::new(),
            held: 0,
        }
    }
}

//! Listing volumes and who has them.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{Volume, VolumeFilter};
use crate::engine::Engine;
use crate::filter;

impl Engine {
    /// The volumes that `filter` lets through, by name.
    pub fn volume_list(&self, filter: &VolumeFilter) -> Vec<Arc<Volume>> {
        let all: Vec<Arc<Volume>> =
            self.inner.volumes.known.lock().values().map(|known| Arc::clone(&known.view)).collect();
        let admitted = |volume: &Arc<Volume>| {
            filter::name_matches(&filter.names, &volume.name)
                && filter::labels_match(&filter.labels, &volume.labels)
                && (filter.drivers.is_empty() || filter.drivers.contains(&volume.driver))
                && filter
                    .dangling
                    .is_none_or(|dangling| self.volume_users(&volume.name).is_empty() == dangling)
        };
        all.into_iter().filter(admitted).collect()
    }

    /// The ids of the containers that have a volume, in whatever state they are.
    pub(crate) fn volume_users(&self, name: &str) -> Vec<String> {
        let known = self.inner.volumes.known.lock();
        known
            .get(name)
            .map(|volume| volume.users.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    }
}

/// Bytes that a volume's own files take; nothing where they cannot be looked at. What is mounted in its place is
/// somebody else's, and may be on a server that does not answer.
pub(crate) fn disk_use(volume: &Volume) -> u64 {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(place) = openat(CWD, &volume.path, flags, Mode::empty()) else { return 0 };
    // One that a disk was mounted for by hand is that disk.
    if volume.is_mounted() && super::mount::is_mount(&place).unwrap_or(true) {
        return 0;
    }
    let held = format!("/proc/self/fd/{}/.", place.as_raw_fd());
    let size = base::tree::size(Path::new(&held)).unwrap_or_default();
    size.files.saturating_add(size.directories)
}

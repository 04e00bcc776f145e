//! Taking up a volume that somebody put here: a copied backup has files, but no record.

use std::path::Path;

use base::Timestamp;

use super::{DATA, RECORD, VolumeRecord, VolumeSpec};
use crate::state::{self, VolumeFile};

/// The record of the volume in `directory`, which has none; it is written down. `None` where nothing
/// says that this is a volume.
pub(super) fn adopt(directory: &Path, now: Timestamp) -> Option<VolumeRecord> {
    let name = directory.file_name()?.to_str()?;
    let data = directory.join(DATA);
    if super::create::check_name(name).is_err() || !data.symlink_metadata().ok()?.is_dir() {
        return None;
    }
    let made = data.metadata().and_then(|metadata| metadata.modified()).ok();
    let record = VolumeRecord {
        name: name.to_owned(),
        created: made.and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(now),
        spec: VolumeSpec { name: Some(name.to_owned()), ..VolumeSpec::default() },
        anonymous: false,
        // Its files are what somebody wants to see in it.
        filled: true,
        filling: false,
        project: None,
    };
    tracing::info!(volume = name, "a volume without a record is taken up");
    if let Err(error) = state::save_durably(&directory.join(RECORD), &VolumeFile::from(record.clone())) {
        // It is one all the same, and will be found again.
        tracing::warn!(volume = name, error = %base::error::chain(&error), "write a volume's record");
    }
    Some(record)
}

//! What the node keeps on disk, in its own versioned types: two records for each pod, of its volumes and of what
//! it was granted, and one for each volume of this node that outlives pods.
//!
//! A record is written before what it tells of is made, so that it says at least what there is. That of volumes is
//! not flushed: what the machine's end leaves of a pod is in the pod's own directory, which is known by its
//! name. A kind of volume that leaves something elsewhere has to flush its record first. That of what was granted
//! is flushed where it is not what the pod asks for: nobody else knows it.

mod local_volumes;
mod resources;
mod volumes;

use std::io;
use std::path::Path;

use base::record::Record;

pub(crate) use local_volumes::LocalVolumeFile;
pub(crate) use resources::ResourcesFile;
pub(crate) use volumes::VolumesFile;

/// Writes a record so that it survives a crash of this process.
pub(crate) fn save<T: Record>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = base::record::encode(record).map_err(io::Error::other)?;
    base::fs::write_atomic_unsynced(path, &bytes, 0o600)
}

/// Writes a record so that it survives a power cut.
pub(crate) fn save_durably<T: Record>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = base::record::encode(record).map_err(io::Error::other)?;
    base::fs::write_atomic(path, &bytes, 0o600)
}

#[cfg(test)]
mod tests;

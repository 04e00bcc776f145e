//! What the node keeps on disk, in its own versioned types: one record for each pod, of its volumes.
//!
//! A record is written before what it tells of is made, so that it says at least what there is. It is not
//! flushed: what the machine's end leaves of a pod is in the pod's own directory, which is known by its
//! name. A kind of volume that leaves something elsewhere has to flush its record first.

mod volumes;

use std::io;
use std::path::Path;

use base::record::Record;

pub(crate) use volumes::VolumesFile;

/// Writes a record so that it survives a crash of this process.
pub(crate) fn save<T: Record>(path: &Path, record: &T) -> io::Result<()> {
    let bytes = base::record::encode(record).map_err(io::Error::other)?;
    base::fs::write_atomic_unsynced(path, &bytes, 0o600)
}

#[cfg(test)]
mod tests;

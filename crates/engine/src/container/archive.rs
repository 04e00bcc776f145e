//! Copying files out of and into a container, running or not.
//!
//! Every path is resolved inside the container's root: no symbolic link leads out of it.

use base::Timestamp;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::ByteStream;

/// What a path in a container is.
#[derive(Clone, Debug)]
pub struct PathStat {
    /// Its last part.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Type and permission bits, as `stat` gives them.
    pub mode: u32,
    /// When its content last changed.
    pub modified: Timestamp,
    /// Where a symbolic link leads, resolved inside the container; empty otherwise.
    pub link_target: String,
}

/// How an archive is unpacked into a container.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArchivePut {
    /// Refuses to replace a directory by something else, and the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Takes owner and group from the archive instead of the container's root.
    pub copy_ownership: bool,
}

impl Engine {
    /// What `path` is; `Could not find the file …` where there is none.
    pub async fn container_archive_stat(&self, id: &ContainerId, path: &str) -> Result<PathStat> {
        let _ = (id, path);
        todo!()
    }

    /// The file or directory `path` as a tar archive whose entries begin with its last part.
    pub async fn container_archive_get(
        &self,
        id: &ContainerId,
        path: &str,
    ) -> Result<(PathStat, ByteStream)> {
        let _ = (id, path);
        todo!()
    }

    /// Unpacks a tar archive (also gzip, zstd) into the directory `path`, which must exist.
    pub async fn container_archive_put(
        &self,
        id: &ContainerId,
        path: &str,
        options: ArchivePut,
        archive: ByteStream,
    ) -> Result<()> {
        let _ = (id, path, options, archive);
        todo!()
    }
}

//! A whole root file system as an archive.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use super::archive;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::rootfs::RootFs;
use crate::stream::ByteStream;
use crate::work::{blocking, transfer};

impl Engine {
    /// The root file system as a tar archive, mounts left out.
    pub async fn container_export(&self, id: &ContainerId) -> Result<ByteStream> {
        let cell = self.inner.registry.get(id)?;
        let record = cell.record();
        let transfer = transfer(archive::of_container(id)).await?;
        let root = blocking(move || RootFs::read_only(&record.layers)).await?;
        self.emit(&cell, "export", &[]);
        Ok(self.stream_from(transfer, move |out| archive::write(&root, "/", "", out)))
    }

    /// All below a directory as a tar archive. It is counted among those of the same `purpose`, which share a
    /// number of threads.
    pub async fn tree_export(&self, purpose: &str, directory: OwnedFd) -> Result<ByteStream> {
        let transfer = transfer(purpose.to_owned()).await?;
        let root = RootFs::of_directory(directory, None);
        Ok(self.stream_from(transfer, move |out| archive::write(&root, "/", "", out)))
    }

    /// What `write` writes, on a thread of those that archives of the same `purpose` share. It ends with an error
    /// when nobody reads any more.
    pub async fn archive_stream(
        &self,
        purpose: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<ByteStream> {
        let transfer = transfer(purpose.to_owned()).await?;
        Ok(self.stream_from(transfer, write))
    }
}

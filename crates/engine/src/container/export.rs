//! A container's whole root file system as an archive.

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
}

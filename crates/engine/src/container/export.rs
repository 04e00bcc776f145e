//! A container's whole root file system as an archive.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::ByteStream;

impl Engine {
    /// The root file system as a tar archive, mounts left out.
    pub async fn container_export(&self, id: &ContainerId) -> Result<ByteStream> {
        let _ = id;
        todo!()
    }
}

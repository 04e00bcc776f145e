//! A container's files, open.

use std::os::fd::OwnedFd;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::rootfs::RootFs;
use crate::work::foreign;

impl Engine {
    /// The root of a container's files, to look into: with all that is mounted as long as it runs, and else what its
    /// layers hold. Paths below it are the container's: whoever opens one confines it to the root.
    pub async fn container_root(&self, id: &ContainerId) -> Result<OwnedFd> {
        let cell = self.inner.registry.get(id)?;
        let held = self.running_process(&cell).await?;
        foreign([id.to_string()], move || {
            let root = match &held {
                Some(held) => RootFs::of_process(held, None)?,
                None => RootFs::read_only(&cell.record().layers)?,
            };
            Ok(root.into_root())
        })
        .await
    }
}

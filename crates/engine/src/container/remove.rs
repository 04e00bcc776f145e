//! Removing a container.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Kills it first if it runs.
    pub force: bool,
    /// Removes its anonymous volumes too.
    pub volumes: bool,
}

impl Engine {
    /// Removes a container, its files and, where it was the only one of a sandbox of its own, that.
    pub async fn container_remove(&self, id: &ContainerId, options: RemoveOptions) -> Result<()> {
        let _ = (id, options);
        todo!()
    }
}

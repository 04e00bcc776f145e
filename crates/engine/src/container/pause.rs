//! Freezing and thawing a container.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Freezes all processes of a running container.
    pub async fn container_pause(&self, id: &ContainerId) -> Result<()> {
        let _ = id;
        todo!()
    }

    /// Lets the processes of a paused container go on.
    pub async fn container_unpause(&self, id: &ContainerId) -> Result<()> {
        let _ = id;
        todo!()
    }
}

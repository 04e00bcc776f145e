//! Starting a container.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Starts a container. [`crate::Kind::NotModified`] where it runs already; a program that
    /// cannot be started gives an error with its exit code (126, 127).
    pub async fn container_start(&self, id: &ContainerId) -> Result<()> {
        let _ = id;
        todo!()
    }
}

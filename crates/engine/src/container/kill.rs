//! Sending a signal to a container.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Sends `signal` (name or number; `None` is SIGKILL) to a container's process 1. After
    /// SIGKILL it returns when the container has ended.
    pub async fn container_kill(&self, id: &ContainerId, signal: Option<&str>) -> Result<()> {
        let _ = (id, signal);
        todo!()
    }
}

//! Changing the size of a container's terminal.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::TerminalSize;

impl Engine {
    /// Sets the terminal size of process 1 of a running container.
    pub async fn container_resize(&self, id: &ContainerId, size: TerminalSize) -> Result<()> {
        let _ = (id, size);
        todo!()
    }
}

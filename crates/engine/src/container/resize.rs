//! Changing the size of a container's terminal.

use runtime::shim::protocol::Request;
use runtime::spec::ConsoleSize;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::TerminalSize;

impl Engine {
    /// Sets the terminal size of process 1 of a running container.
    pub async fn container_resize(&self, id: &ContainerId, size: TerminalSize) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let request = Request::ResizeTty { container: id.to_string(), exec: None, size: size.into() };
        cell.shim()?.tell(&request).await?;
        self.emit(&cell, "resize", &[("height", size.rows.to_string()), ("width", size.columns.to_string())]);
        Ok(())
    }
}

impl From<TerminalSize> for ConsoleSize {
    fn from(size: TerminalSize) -> Self {
        Self { height: size.rows, width: size.columns }
    }
}

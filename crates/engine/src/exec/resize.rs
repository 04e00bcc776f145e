//! Changing the size of a further process's terminal.

use runtime::shim::protocol::Request;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ExecId;
use crate::stream::TerminalSize;

impl Engine {
    /// Sets the terminal size of a running process.
    pub async fn exec_resize(&self, id: &ExecId, size: TerminalSize) -> Result<()> {
        let cell = self.exec_cell(id)?;
        let request = Request::ResizeTty {
            container: cell.container.id.to_string(),
            exec: Some(id.to_string()),
            size: size.into(),
        };
        cell.container.shim()?.tell(&request).await
    }
}

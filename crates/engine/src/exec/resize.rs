//! Changing the size of a further process's terminal.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ExecId;
use crate::stream::TerminalSize;

impl Engine {
    /// Sets the terminal size of a running process.
    pub async fn exec_resize(&self, id: &ExecId, size: TerminalSize) -> Result<()> {
        let _ = (id, size);
        todo!()
    }
}

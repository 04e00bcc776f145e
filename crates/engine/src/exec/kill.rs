//! Sending a signal to a further process.

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ExecId;
use crate::signal;

impl Engine {
    /// Sends `signal` (name or number) to a process that runs.
    pub async fn exec_kill(&self, id: &ExecId, signal: &str) -> Result<()> {
        let number = signal::parse(signal)?;
        let cell = self.exec_cell(id)?;
        let runs = {
            let progress = cell.progress.lock();
            progress.pid.is_some() && progress.exit_code.is_none()
        };
        if !runs {
            return Err(Error::conflict(format!("process {id} does not run")));
        }
        cell.container.shim()?.kill(cell.container.id.as_str(), Some(id.as_str()), number).await
    }
}

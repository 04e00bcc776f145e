//! Changing the size of a further process's terminal.

use std::time::Duration;

use runtime::shim::protocol::Request;

use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ExecId;
use crate::stream::TerminalSize;

/// How long a process may take to begin that is resized before.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Sets the terminal size of a process; one that is about to begin is waited for.
    pub async fn exec_resize(&self, id: &ExecId, size: TerminalSize) -> Result<()> {
        let cell = self.exec_cell(id)?;
        let begun = async {
            let mut woken = std::pin::pin!(cell.begun.notified());
            loop {
                woken.as_mut().enable();
                let progress = cell.progress.lock().clone();
                if progress.pid.is_some() || progress.exit_code.is_some() {
                    return progress;
                }
                woken.as_mut().await;
                woken.set(cell.begun.notified());
            }
        };
        let Ok(progress) = tokio::time::timeout(PATIENCE, begun).await else {
            return Err(Error::internal("timeout waiting for exec session ready"));
        };
        if progress.pid.is_none() {
            return Err(Error::invalid("exec process is not started"));
        }
        let request = Request::ResizeTty {
            container: cell.container.id.to_string(),
            exec: Some(id.to_string()),
            size: size.into(),
        };
        cell.container.shim()?.tell(&request).await
    }
}

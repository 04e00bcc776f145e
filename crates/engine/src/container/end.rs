//! Ending what runs because the host goes down.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::Status;
use super::stop::how;
use crate::engine::Engine;
use crate::error::Result;
use crate::registry::ContainerCell;

impl Engine {
    /// Ends all containers that have a sandbox of their own, together, as the host goes down: each gets
    /// its stop signal and its own time, `longest` at most, and is recorded as it ended.
    ///
    /// That is nobody's wish: what a restart policy holds is started again when the engine is opened
    /// next, and not before. Containers of sandboxes are left to who made these.
    pub async fn containers_end(&self, longest: Duration) {
        self.inner.going_down.cancel();
        let own = self.inner.registry.all().into_iter().filter(|cell| cell.sandbox.is_of_one());
        join_all(own.map(async |cell| {
            if let Err(error) = self.end_for_host(&cell, longest).await {
                tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "end a container as the host goes down");
            }
        }))
        .await;
    }

    async fn end_for_host(&self, cell: &Arc<ContainerCell>, longest: Duration) -> Result<()> {
        let (signal, grace) = how(cell, None, None)?;
        let grace = grace.map_or(longest, |grace| grace.min(longest));
        let mut pulse = cell.pulse();
        {
            let _operation = cell.operation.lock().await;
            if !cell.status().is_active() {
                return Ok(());
            }
            pulse.mark_unchanged();
            if cell.status() == Status::Paused {
                // A frozen process hears no signal.
                self.thaw(cell).await?;
            }
            self.send(cell, signal).await?;
        }
        let ended = pulse.wait_for(|pulse| !pulse.status.is_active());
        if tokio::time::timeout(grace, ended).await.is_ok() {
            return Ok(());
        }
        tracing::info!(container = %cell.id, "container did not end in time and is killed");
        self.end(cell).await
    }
}

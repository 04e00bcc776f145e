//! Sending a signal to a container.

use super::life::Input;
use crate::engine::Engine;
use crate::error::{Operation, Result};
use crate::id::ContainerId;
use crate::signal;

impl Engine {
    /// Sends `signal` (name or number; `None` is SIGKILL) to a container's process 1. After
    /// SIGKILL it returns when the container has ended.
    pub async fn container_kill(&self, id: &ContainerId, signal: Option<&str>) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let number = match signal.filter(|signal| !signal.is_empty()) {
            Some(text) => signal::parse(text)?,
            None => signal::KILL,
        };
        let engine = self.clone();
        self.detached(async move {
            // Nobody else waits meanwhile.
            engine.awake(&cell, number).await;
            {
                let (_operation, interrupted) = cell.lock_to_end().await;
                if interrupted && !cell.status().is_active() {
                    return Ok(());
                }
                if !cell.status().is_active() {
                    return Err(cell.refuse(Operation::Kill));
                }
                let stop = cell.record().resolved.stop_signal.clone();
                let stop = if stop.is_empty() { signal::TERM } else { signal::parse(&stop)? };
                // Who is told to end, and does, is not to be started again by its policy.
                if number == signal::KILL || number == stop {
                    // Who stops it to start it again still does: a kill is about now.
                    let returns = cell.record().life.returns;
                    let effects = engine.step_of_fact(&cell, &Input::Halted { returns });
                    engine.perform(&cell, effects);
                }
                if number != signal::KILL {
                    return engine.send(&cell, number).await.map(drop);
                }
            }
            engine.end(&cell).await
        })
        .await
    }
}

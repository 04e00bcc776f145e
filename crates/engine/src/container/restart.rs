//! Stopping and starting a container in one go.

use std::time::Duration;

use super::life::Input;
use super::stop;
use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::id::ContainerId;

impl Engine {
    /// Stops a container as [`Engine::container_stop`] does, if it runs, and starts it.
    pub async fn container_restart(
        &self,
        id: &ContainerId,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let (signal, grace) = stop::how(&cell, signal, grace)?;
        let engine = self.clone();
        self.detached(async move {
            match engine.halt(&cell, signal, grace, true).await {
                Ok(()) => engine.emit(&cell, "stop", &[]),
                Err(error) if error.kind() == Kind::NotModified => {}
                Err(error) => {
                    // Whenever it ends now, that is the end.
                    let _operation = cell.operation.lock().await;
                    let effects = engine.step_of_fact(&cell, &Input::Halted { returns: false });
                    engine.perform(&cell, effects);
                    return Err(error);
                }
            }
            match engine.container_start(&cell.id).await {
                Ok(()) => {}
                // Somebody else was quicker.
                Err(error) if error.kind() == Kind::NotModified => {}
                Err(error) => return Err(error),
            }
            engine.emit(&cell, "restart", &[]);
            Ok(())
        })
        .await
    }
}

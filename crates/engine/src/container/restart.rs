//! Stopping and starting a container in one go.

use std::sync::atomic::Ordering;
use std::time::Duration;

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
            // What removes itself when it ends must not do so now. Nothing of this is written down.
            cell.restarts.store(true, Ordering::Relaxed);
            let halted = engine.halt(&cell, signal, grace).await;
            cell.restarts.store(false, Ordering::Relaxed);
            match halted {
                Ok(()) => engine.emit(&cell, "stop", &[]),
                Err(error) if error.kind() == Kind::NotModified => {}
                Err(error) => return Err(error),
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

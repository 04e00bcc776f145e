//! Stopping and starting a container in one go.

use std::time::Duration;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Stops a container as [`Engine::container_stop`] does, if it runs, and starts it.
    pub async fn container_restart(
        &self,
        id: &ContainerId,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<()> {
        let _ = (id, signal, grace);
        todo!()
    }
}

//! Stopping a container.

use std::time::Duration;

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Asks a container to stop (with `signal`, or its own stop signal) and kills it after `grace`
    /// (its own stop timeout where `None`). Returns when it has ended; [`crate::Kind::NotModified`]
    /// where it does not run.
    pub async fn container_stop(
        &self,
        id: &ContainerId,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<()> {
        let _ = (id, signal, grace);
        todo!()
    }
}

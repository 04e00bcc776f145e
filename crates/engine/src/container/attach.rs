//! Attaching to a container's own streams.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::Attached;

impl Engine {
    /// Attaches to the streams of process 1. A container that is not started yet may be attached
    /// to: nothing of its output is missed then. What it wrote before is in its log.
    pub async fn container_attach(&self, id: &ContainerId) -> Result<Attached> {
        let _ = id;
        todo!()
    }
}

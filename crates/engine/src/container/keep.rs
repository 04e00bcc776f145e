//! Keeping a container that was to go with the work it was made for.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Makes a [transient](crate::ContainerSpec::transient) container one like any other.
    pub async fn container_keep(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let _operation = cell.operation.lock().await;
        if !cell.record().spec.transient {
            return Ok(());
        }
        self.change_record(&cell, |record| record.spec.transient = false).await
    }
}

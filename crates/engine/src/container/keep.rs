//! Keeping a container that was to go with the work it was made for.

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Makes a [transient](crate::ContainerSpec::transient) container one like any other; on disk when this
    /// returns.
    pub async fn container_keep(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let _operation = cell.operation.lock().await;
        if !cell.record().is_transient() {
            return Ok(());
        }
        let keep = |record: &mut crate::container::ContainerRecord| record.kept = true;
        self.change_durably(&cell, keep, |_| async { Ok(()) }, || async {}).await
    }
}

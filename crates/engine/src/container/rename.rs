//! Giving a container another name.

use super::names;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

impl Engine {
    /// Names a container `name`, which no other may have.
    pub async fn container_rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let name = names::check(name)?;
        let _operation = cell.operation.lock().await;
        let old = self.inner.registry.rename(id, name)?;
        if let Err(error) = self.save(cell.record()).await {
            // What is not written down did not happen.
            self.inner.registry.rename(id, &old)?;
            return Err(error);
        }
        if !cell.sandbox.live.read().endpoints.is_empty() {
            self.inner
                .network
                .endpoint_rename(cell.sandbox.id.as_str(), name)
                .await
                .map_err(crate::network::attach_error)?;
        }
        self.emit(&cell, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}

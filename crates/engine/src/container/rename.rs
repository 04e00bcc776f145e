//! Giving a container another name.

use super::names;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::registry::ContainerCell;

impl Engine {
    /// Names a container `name`, which no other may have.
    pub async fn container_rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let name = names::check(name)?.to_owned();
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            let old = cell.record().name.clone();
            engine.inner.registry.take_name(&cell.id, &name)?;
            let renamed = engine.change_durably(
                &cell,
                |record| record.name.clone_from(&name),
                |_| engine.rename_in_networks(&cell, &name),
                || async {
                    if let Err(error) = engine.rename_in_networks(&cell, &old).await {
                        tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "call a container in its networks what it was called");
                    }
                },
            );
            let renamed = renamed.await;
            engine.inner.registry.give_up_name(&cell.id, if renamed.is_ok() { &old } else { &name });
            renamed?;
            engine.refresh_linked_to(&cell);
            engine.emit(&cell, "rename", &[("oldName", format!("/{old}"))]);
            Ok(())
        })
        .await
    }

    async fn rename_in_networks(&self, cell: &ContainerCell, name: &str) -> Result<()> {
        if cell.sandbox.live.read().endpoints.is_empty() {
            return Ok(());
        }
        let renamed = self.inner.network.endpoint_rename(cell.sandbox.id.as_str(), name).await;
        renamed.map_err(crate::network::attach_error)
    }
}

//! Removing a sandbox.

use crate::container::RemoveOptions;
use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::id::SandboxId;
use crate::work::blocking;

impl Engine {
    /// Stops and removes a sandbox and its containers.
    pub async fn sandbox_remove(&self, id: &SandboxId) -> Result<()> {
        let cell = self.inner.registry.sandbox(id)?;
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            engine.sandbox_halt(&cell).await?;
            let options = RemoveOptions { force: true, volumes: true };
            // One that is made now would stay without it.
            cell.close().await?;
            let containers = engine.inner.registry.of_sandbox(&cell.id);
            let removals = containers.iter().map(|container| engine.container_remove(&container.id, options));
            for removed in futures::future::join_all(removals).await {
                match removed {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            let (remover, id) = (engine.clone(), cell.id.clone());
            let group = engine.inner.places.sandbox_group(&cell.id, &cell.spec);
            let memory = engine.inner.places.shared_memory(&cell.id);
            blocking(move || {
                crate::cgroup::remove(&group);
                super::memory::unmount(&memory)?;
                let places = &remover.inner.places;
                if let Some(thrown) = remover.set_aside_durably(&places.sandbox(&id), &places.trash())? {
                    remover.sweep(thrown);
                }
                remover.discard(&places.sandbox_run(&id), &places.run_trash())
            })
            .await?;
            engine.inner.id_blocks.give_back(&cell.id);
            engine.inner.registry.sandbox_forget(&cell.id);
            engine.emit_sandbox("destroy", &cell);
            Ok(())
        })
        .await
    }
}

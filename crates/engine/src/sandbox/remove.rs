//! Removing a sandbox.

use crate::container::{RemoveOptions, remove_directory};
use crate::engine::{Engine, blocking};
use crate::error::{Kind, Result};
use crate::id::SandboxId;

impl Engine {
    /// Stops and removes a sandbox and its containers.
    pub async fn sandbox_remove(&self, id: &SandboxId) -> Result<()> {
        let cell = self.inner.registry.sandbox(id)?;
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            engine.sandbox_halt(&cell).await?;
            let options = RemoveOptions { force: true, volumes: true };
            let containers = engine.inner.registry.of_sandbox(&cell.id);
            let removals = containers.iter().map(|container| engine.container_remove(&container.id, options));
            for removed in futures::future::join_all(removals).await {
                match removed {
                    Ok(()) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            let directories =
                [engine.inner.layout.sandbox_run(&cell.id), engine.inner.layout.sandbox(&cell.id)];
            let group = engine.sandbox_cgroup(&cell);
            let memory = engine.shared_memory(&cell.id);
            blocking(move || {
                crate::cgroup::remove(&group);
                super::memory::unmount(&memory)?;
                directories.iter().try_for_each(|directory| remove_directory(directory))
            })
            .await?;
            engine.inner.registry.sandbox_forget(&cell.id);
            engine.emit_sandbox("destroy", &cell);
            Ok(())
        })
        .await
    }
}

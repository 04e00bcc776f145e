//! Stopping a sandbox.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::{Kind, Result};
use crate::id::SandboxId;
use crate::registry::SharedSandbox;
use crate::signal;
use crate::work::blocking;

impl Engine {
    /// Stops all containers of a sandbox at once (with no grace) and takes its network down.
    /// Does nothing where that is done.
    pub async fn sandbox_stop(&self, id: &SandboxId) -> Result<()> {
        let cell = self.inner.registry.sandbox(id)?;
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            engine.sandbox_halt(&cell).await
        })
        .await
    }

    /// Stops a sandbox whose operation lock is held.
    pub(super) async fn sandbox_halt(&self, cell: &Arc<SharedSandbox>) -> Result<()> {
        let containers = self.inner.registry.of_sandbox(&cell.id);
        let halts = containers
            .iter()
            .map(|container| self.halt(container, signal::KILL, Some(Duration::ZERO), false));
        for halted in futures::future::join_all(halts).await {
            match halted {
                Ok(()) => {}
                Err(error) if error.kind() == Kind::NotModified => {}
                Err(error) => return Err(error),
            }
        }
        if cell.shim().is_none() {
            self.clear_endpoints(&cell.id).await;
            return Ok(());
        }
        self.tear_down(cell).await;
        self.remove_group(cell).await;
        self.emit_sandbox("stop", cell);
        Ok(())
    }

    /// Removes the control group of a sandbox that is down. The kernel may take a moment to let go of it.
    pub(super) async fn remove_group(&self, cell: &SharedSandbox) {
        let group = self.inner.places.sandbox_group(&cell.id, &cell.spec);
        let removed = move || {
            crate::cgroup::remove(&group);
            Ok(())
        };
        if let Err(error) = blocking(removed).await {
            tracing::debug!(sandbox = %cell.id, error = %base::error::chain(&error), "remove a sandbox's group");
        }
    }

    /// A sandbox lost its shim: what was there of it is taken down.
    pub(crate) async fn sandbox_lost(&self, cell: &Arc<SharedSandbox>) {
        self.tear_down(cell).await;
        self.emit_sandbox("die", cell);
    }
}

//! What a shim tells, or what its end says, of its containers.

use std::sync::Arc;

use runtime::shim::protocol::{Event, ExitStatus};

use crate::engine::Engine;
use crate::registry::{AnySandbox, ContainerCell};
use crate::shim::Shim;
use crate::work::in_place;

impl Engine {
    pub(super) fn on_shim_event(&self, event: Event) {
        match event {
            Event::Exited { container, exec: Some(exec), status } => {
                self.on_exec_exit(&container, &exec, &status)
            }
            Event::Exited { container, exec: None, status } => {
                let Ok(cell) =
                    self.inner.registry.find(&container).and_then(|id| self.inner.registry.get(&id))
                else {
                    return;
                };
                let engine = self.clone();
                self.spawn(async move { engine.on_exit(&cell, &status, None).await });
            }
            // These are told by whoever caused them, or with the exit.
            Event::Started { .. }
            | Event::OutOfMemory { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. } => {}
        }
    }

    /// A shim went away: its containers are dead, and nobody may believe otherwise.
    pub(super) async fn on_shim_gone(&self, sandbox: &AnySandbox, shim: &Arc<Shim>) {
        let is_current = sandbox.shim().is_some_and(|current| Arc::ptr_eq(&current, shim));
        if !is_current {
            return;
        }
        for cell in self.inner.registry.of_sandbox(&sandbox.id) {
            if !cell.status().is_active() {
                continue;
            }
            let status = self.lost_exit(&cell);
            tracing::warn!(container = %cell.id, "the shim of a container is gone");
            let engine = self.clone();
            let error = "the process that held the container was killed".to_owned();
            self.spawn(async move { engine.on_exit(&cell, &status.0, status.1.then_some(error)).await });
        }
        if let AnySandbox::Shared(shared) = sandbox {
            self.sandbox_lost(shared).await;
        }
    }

    /// How a container ended that nobody saw ending: what its shim wrote down, or a violent death.
    /// The flag says that it is a guess.
    pub(crate) fn lost_exit(&self, cell: &ContainerCell) -> (ExitStatus, bool) {
        let ends = self.inner.places.ends(&cell.id, &cell.sandbox.id);
        let started = cell.record().life.started_at;
        let written = ends.iter().find_map(|path| {
            let bytes = in_place(|| std::fs::read(path)).ok()?;
            let status: ExitStatus = serde_json::from_slice(&bytes).ok()?;
            started.is_none_or(|started| status.at >= started).then_some(status)
        });
        match written {
            Some(status) => (status, false),
            None => {
                let status = ExitStatus {
                    code: 137,
                    signal: Some(crate::signal::KILL),
                    at: self.inner.clock.now(),
                    oom_killed: false,
                };
                (status, true)
            }
        }
    }
}

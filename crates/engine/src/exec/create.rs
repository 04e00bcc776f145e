//! Preparing a further process.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{ExecCell, ExecSpec};
use crate::container::Status;
use crate::engine::Engine;
use crate::error::{Error, Operation, Result};
use crate::id::{ContainerId, ExecId};
use crate::shim::LAUNCH;

/// How long command and environment may be together, in bytes: what the kernel takes for a program.
const LONGEST: usize = 2 << 20;
/// How many processes of a container may be prepared and not started.
const PREPARED: usize = 1000;

impl Engine {
    /// Prepares a process in a running container; it begins with [`Engine::exec_start`].
    pub async fn exec_create(&self, container: &ContainerId, spec: ExecSpec) -> Result<ExecId> {
        let cell = self.exec_prepare(container, spec, false)?;
        if cell.spec.user.as_ref().is_some_and(|user| !user.is_empty()) {
            // Whoever prepares it learns now that there is no such user.
            let looked = tokio::time::timeout(LAUNCH, self.exec_process(&cell, None)).await;
            looked.unwrap_or_else(|_| {
                Err(Error::unavailable("the process's user was not found in the container's files in time"))
            })?;
        }
        let waits = |other: &&Arc<ExecCell>| {
            Arc::ptr_eq(&other.container, &cell.container) && !other.progress.lock().started
        };
        if self.inner.execs.read().values().filter(waits).count() >= PREPARED {
            return Err(Error::conflict(format!(
                "container {} has {PREPARED} processes that were prepared and not started: start those first",
                cell.container.id
            )));
        }
        let command = cell.spec.told();
        let id = cell.id.clone();
        self.emit(&cell.container, format!("exec_create: {command}"), &[("execID", id.to_string())]);
        self.inner.execs.write().insert(id.clone(), cell);
        Ok(id)
    }

    pub(super) fn exec_prepare(
        &self,
        container: &ContainerId,
        spec: ExecSpec,
        quiet: bool,
    ) -> Result<Arc<ExecCell>> {
        let container = self.inner.registry.get(container)?;
        if container.status() != Status::Running {
            return Err(container.refuse(Operation::Exec));
        }
        if spec.command.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        if spec.command.iter().chain(&spec.env).map(String::len).sum::<usize>() > LONGEST {
            return Err(Error::invalid(format!(
                "command and environment of a process are longer than {LONGEST} bytes together"
            )));
        }
        let id = ExecId::random(self.inner.random.as_ref());
        Ok(Arc::new(ExecCell {
            id,
            container,
            spec,
            quiet,
            progress: Mutex::default(),
            begun: Notify::new(),
        }))
    }
}

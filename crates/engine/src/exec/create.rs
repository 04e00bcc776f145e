//! Preparing a further process.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{ExecCell, ExecSpec, Progress};
use crate::container::Status;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::{ContainerId, ExecId};

impl Engine {
    /// Prepares a process in a running container; it begins with [`Engine::exec_start`].
    pub async fn exec_create(&self, container: &ContainerId, spec: ExecSpec) -> Result<ExecId> {
        let cell = self.exec_prepare(container, spec, false)?;
        let command = cell.spec.command.join(" ");
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
        match container.status() {
            Status::Running => {}
            Status::Paused => {
                return Err(Error::conflict(format!(
                    "container {} is paused, unpause the container before exec",
                    container.id
                )));
            }
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => return Err(container.not_running()),
        }
        if spec.command.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let id = ExecId::random(self.inner.random.as_ref());
        Ok(Arc::new(ExecCell { id, container, spec, quiet, progress: Mutex::new(Progress::default()) }))
    }
}

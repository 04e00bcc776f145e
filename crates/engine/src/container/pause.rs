//! Freezing and thawing a container.

use std::sync::Arc;

use runtime::shim::protocol::Request;

use super::life::Input;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Operation, Result};
use crate::id::ContainerId;
use crate::registry::ContainerCell;

impl Engine {
    /// Freezes all processes of a running container.
    pub async fn container_pause(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let _operation = cell.operation.lock().await;
        match cell.status() {
            Status::Running => self.freeze(&cell).await,
            _ => Err(cell.refuse(Operation::Pause)),
        }
    }

    /// Lets the processes of a paused container go on.
    pub async fn container_unpause(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let _operation = cell.operation.lock().await;
        match cell.status() {
            Status::Paused => self.thaw(&cell).await,
            _ => Err(cell.refuse(Operation::Unpause)),
        }
    }

    /// Freezes a container whose operation lock is held.
    pub(crate) async fn freeze(&self, cell: &Arc<ContainerCell>) -> Result<()> {
        cell.shim()?.tell(&Request::Pause { container: cell.id.to_string() }).await?;
        let effects = self.step_of_fact(cell, &Input::Frozen);
        cell.tell(|_| {});
        self.perform(cell, effects);
        Ok(())
    }

    /// Thaws a container whose operation lock is held.
    pub(crate) async fn thaw(&self, cell: &Arc<ContainerCell>) -> Result<()> {
        cell.shim()?.tell(&Request::Resume { container: cell.id.to_string() }).await?;
        let effects = self.step_of_fact(cell, &Input::Thawed);
        cell.tell(|_| {});
        self.perform(cell, effects);
        Ok(())
    }
}

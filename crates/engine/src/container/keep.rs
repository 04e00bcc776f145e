//! Keeping a container that was to go with the work it was made for.

use super::life::Input;
use super::record::ContainerRecord;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::state;
use crate::work::blocking;

impl Engine {
    /// Makes a [transient](crate::ContainerSpec::transient) container one like any other; on disk when this
    /// returns.
    pub async fn container_keep(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let _operation = cell.operation.lock().await;
        if !cell.record().is_transient() {
            return Ok(());
        }
        let mut next = ContainerRecord::clone(&cell.record());
        next.life = next.step(&Input::Kept).0;
        let directory = self.inner.places.container(&cell.id);
        blocking(move || state::save_life(&directory, &next)).await?;
        cell.change(|record| record.life = record.step(&Input::Kept).0);
        Ok(())
    }
}

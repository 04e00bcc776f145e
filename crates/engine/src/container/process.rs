//! A container's first process, held while it is looked into.

use runtime::held::HeldProcess;

use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::registry::ContainerCell;
use crate::work::blocking;

impl Engine {
    /// The first process of a container that runs; `None` where it does not. What is opened through
    /// it is of that process or an error, also where its number has been given to another.
    pub(crate) async fn running_process(&self, cell: &ContainerCell) -> Result<Option<HeldProcess>> {
        if !cell.status().is_active() {
            return Ok(None);
        }
        let Some(pid) = cell.record().life.pid else { return Ok(None) };
        let known = cell.started.lock().filter(|(known, _)| *known == pid);
        if let Some((pid, start_time)) = known
            && let Ok(held) = HeldProcess::hold(pid, start_time)
        {
            return Ok(Some(held));
        }
        // Only the shim can say which process of that number it holds: it has not let go of it.
        let sandbox = cell.shim()?.state().await?;
        let Some(first) = sandbox.containers.into_iter().find(|held| held.id == cell.id.as_str()) else {
            return Ok(None);
        };
        let held = blocking(move || {
            HeldProcess::hold(first.pid, first.start_time)
                .context(|| "find the container's process".to_owned())
        });
        let held = held.await.map_err(|error| cell.not_running().with_source(error))?;
        *cell.started.lock() = Some((first.pid, first.start_time));
        Ok(Some(held))
    }
}

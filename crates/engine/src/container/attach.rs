//! Attaching to a container's own streams.

use super::view::Status;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::registry::WaitingClient;
use crate::shim::{self, Client, Connection};
use crate::stream::Attached;

impl Engine {
    /// Attaches to the streams of process 1; `stdin` says that input will be given. A container
    /// that is not started yet may be attached to: nothing of its output is missed then. What it
    /// wrote before is in its log.
    pub async fn container_attach(&self, id: &ContainerId, stdin: bool) -> Result<Attached> {
        let cell = self.inner.registry.get(id)?;
        let Client { attached, side } = Client::new(stdin);
        // A start that is under way is waited for: it has the streams or it has failed.
        let _operation = cell.operation.lock().await;
        match cell.status() {
            Status::Running | Status::Paused => {
                let connection = shim::connect(&*cell.shim()?, id.as_str(), &side).await?;
                self.spawn_pump(connection, side);
            }
            Status::Created | Status::Exited | Status::Restarting => {
                let mut waiting = cell.waiting.lock();
                waiting.retain(|client| !client.pieces.is_closed());
                waiting.push(side);
            }
            Status::Removing | Status::Dead => {
                return Err(Error::conflict(format!("container {id} is marked for removal")));
            }
        }
        self.emit(&cell, "attach", &[]);
        Ok(attached)
    }

    /// A client has left the streams of process 1 by its detach keys.
    pub fn container_detached(&self, id: &ContainerId) {
        if let Ok(cell) = self.inner.registry.get(id) {
            self.emit(&cell, "detach", &[]);
        }
    }

    /// Moves a client's streams until one side ends.
    pub(crate) fn spawn_pump(&self, connection: Connection, client: WaitingClient) {
        let closing = self.inner.closing.clone();
        self.spawn(async move {
            tokio::select! {
                () = shim::pump(connection, client, |_| {}) => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

//! Taking down what served a container, and a sandbox.

use std::sync::Arc;

use crate::engine::Engine;
use crate::error::Kind;
use crate::registry::{ContainerCell, SandboxCell};
use crate::shim::Shim;
use crate::work::blocking;

impl Engine {
    /// Takes down what served a container that does not run any more.
    pub(crate) async fn take_down(&self, cell: &Arc<ContainerCell>) {
        let sandbox = &cell.sandbox;
        if let Some(shim) = sandbox.shim() {
            if let Err(error) = shim.delete(cell.id.as_str(), None).await
                && error.kind() != Kind::NotFound
            {
                tracing::debug!(container = %cell.id, error = %base::error::chain(&error), "forget a container in its shim");
                self.kill_cgroup(cell).await;
            }
        } else {
            self.kill_cgroup(cell).await;
        }
        if sandbox.is_of_one() {
            self.tear_down(sandbox).await;
        }
        self.unmount_for(cell).await;
    }

    /// Takes away what was mounted on the host for a container, unless others use it.
    async fn unmount_for(&self, cell: &Arc<ContainerCell>) {
        let record = cell.record();
        let is_mounted = |name: &String| self.volume_inspect(name).is_ok_and(|volume| volume.is_mounted());
        let volumes = record.mounts.iter().filter_map(|point| point.volume.clone());
        let volumes: Vec<String> = volumes.filter(is_mounted).collect();
        if volumes.is_empty() && record.mounts.iter().all(|point| point.image.is_none()) {
            return;
        }
        let engine = self.clone();
        let unmount = move || {
            engine.volumes_stop(volumes.iter().map(String::as_str), &record.id);
            crate::container::images::unmount(&engine, &record);
            Ok(())
        };
        if let Err(error) = blocking(unmount).await {
            tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "unmount what a container used");
        }
    }

    /// Ends a sandbox's shim and gives its network back. Does nothing where that is done.
    pub(crate) async fn tear_down(&self, sandbox: &SandboxCell) {
        let live = std::mem::take(&mut *sandbox.live.write());
        let shim = async {
            if let Some(shim) = &live.shim
                && let Err(error) = shim.shut_down().await
            {
                tracing::debug!(sandbox = %sandbox.id, error = %base::error::chain(&error), "end a shim");
                shim.end_process().await;
            }
            // One that was killed while it began has told nobody of its socket.
            if live.shim.is_none() {
                Shim::clear(&self.inner.places.socket(sandbox.id.as_str())).await;
            }
        };
        let network = async {
            // Whatever is known of them here: an engine that found no shim has learnt of none.
            if let Err(error) = self.inner.network.endpoint_detach_all(sandbox.id.as_str()).await {
                tracing::warn!(sandbox = %sandbox.id, error = %base::error::chain(&error), "give a network address back");
            }
            if let Err(error) = self.inner.network.netns_give_up(sandbox.id.as_str()).await {
                tracing::warn!(sandbox = %sandbox.id, error = %base::error::chain(&error), "give a network namespace up");
            }
        };
        tokio::join!(shim, network);
        self.drop_shared_memory(&sandbox.id);
    }

    /// Kills whatever is left in a container's cgroup, and removes it; whether that is done.
    pub(crate) async fn kill_cgroup(&self, cell: &ContainerCell) -> bool {
        let path = self.inner.places.container_group(&cell.record(), &cell.sandbox);
        let killed = blocking(move || crate::cgroup::kill(&path)).await;
        if let Err(error) = &killed {
            tracing::warn!(container = %cell.id, error = %base::error::chain(error), "clear a container's cgroup");
        }
        killed.is_ok()
    }
}

//! Telling about sandboxes.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Sandbox, SandboxFilter};
use crate::engine::Engine;
use crate::error::Result;
use crate::filter;
use crate::id::SandboxId;
use crate::registry::SharedSandbox;

impl Engine {
    /// A sandbox. `No such sandbox: …` where there is none.
    pub fn sandbox_inspect(&self, id: &SandboxId) -> Result<Arc<Sandbox>> {
        self.inner.registry.sandbox(id).map(|cell| Arc::new(self.sandbox_view(&cell)))
    }

    /// The sandboxes made by [`Engine::sandbox_create`] that `filter` lets through, newest first.
    pub fn sandbox_list(&self, filter: &SandboxFilter) -> Vec<Arc<Sandbox>> {
        let admitted = |view: &Arc<Sandbox>| {
            filter::labels_match(&filter.labels, &view.spec.labels)
                && filter.ready.is_none_or(|ready| view.ready == ready)
        };
        let cells = self.inner.registry.sandboxes_among(&filter.labels);
        let mut views: Vec<Arc<Sandbox>> =
            cells.iter().map(|cell| Arc::new(self.sandbox_view(cell))).filter(admitted).collect();
        views.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
        views
    }

    fn sandbox_view(&self, cell: &SharedSandbox) -> Sandbox {
        let live = cell.live.read().clone();
        let mut containers = self.inner.registry.of_sandbox(&cell.id);
        containers.sort_by_cached_key(|container| (container.record().created, container.id.clone()));
        Sandbox {
            id: cell.id.clone(),
            spec: Arc::clone(&cell.spec),
            created: cell.created,
            ready: live.shim.is_some(),
            addresses: live
                .endpoints
                .values()
                .filter_map(|at| at.ipv4)
                .map(|net| IpAddr::V4(net.addr()))
                .collect(),
            networks: live.endpoints,
            ports: live.ports,
            containers: containers.iter().map(|container| container.id.clone()).collect(),
            pid: live.shim.map(|shim| shim.handle.pid),
        }
    }
}

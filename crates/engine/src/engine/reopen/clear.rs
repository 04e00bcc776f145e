//! Clearing away what an earlier engine did not finish. Only what is known to be nobody's goes: a
//! thing that may belong to what could not be read stays, and so does what is called as nothing here is.

use std::collections::BTreeSet;
use std::path::Path;

use base::Trouble;
use futures::StreamExt;

use super::{AT_ONCE, Shims};
use crate::container::remove_directory;
use crate::engine::Engine;
use crate::error::Context;
use crate::id::{ContainerId, SandboxId};
use crate::shim::Shim;
use crate::work::in_place;

impl Engine {
    /// Removes what was thrown away. That may take a while, so nobody waits for it.
    pub(super) fn empty_trash(&self) {
        for trash in [self.inner.places.trash(), self.inner.places.run_trash()] {
            let paths = match base::fs::entries(&trash) {
                Ok(paths) => paths,
                Err(error) => {
                    self.trouble(Trouble::new("what was thrown away", &trash, &error));
                    continue;
                }
            };
            let engine = self.clone();
            self.spawn(async move {
                for path in paths {
                    let place = path.clone();
                    let removals = &engine.inner.removals;
                    let turn = tokio::select! {
                        turn = removals.turn() => turn,
                        () = engine.inner.closing.cancelled() => return,
                    };
                    if let Err(error) = removals.run(turn, move || remove_directory(&place)).await {
                        engine.trouble(Trouble::new("what was thrown away", &path, &error));
                    }
                }
            });
        }
    }

    /// Ends shims that belong to nothing: their containers were being made or removed when the engine
    /// was killed. One that another engine started, or that may belong to what could not be read, goes on.
    pub(super) async fn clear_strangers(&self, shims: &Shims) {
        let is_stranger = |id: &SandboxId| !self.has_cell(id) && !self.inner.left_out.read().has(id.as_str());
        let strangers = shims.iter().filter(|(id, _)| is_stranger(id));
        let strangers: BTreeSet<&str> = futures::stream::iter(strangers)
            .map(async |(id, (shim, _))| (!self.end_stranger(id, shim).await).then_some(id.as_str()))
            .buffer_unordered(AT_ONCE)
            .filter_map(async |left| left)
            .collect()
            .await;
        for endpoint in self.inner.network.endpoint_list() {
            let owner = endpoint.owner.as_str();
            let id = SandboxId::parse(owner);
            let is_known = id.is_ok_and(|id| self.has_cell(&id));
            if is_known || self.inner.left_out.read().has(owner) || strangers.contains(owner) {
                continue;
            }
            if let Err(error) = self.inner.network.endpoint_detach_all(owner).await {
                tracing::warn!(owner, error = %base::error::chain(&error), "give a network address back");
            }
        }
    }

    /// Ends a shim that belongs to nothing, if it is the engine's own; whether it has ended.
    async fn end_stranger(&self, id: &SandboxId, shim: &Shim) -> bool {
        if !self.owns(id) {
            self.trouble(Trouble::saying(
                format!("the shim of sandbox {id}"),
                &shim.handle.socket,
                format!("no engine of this root started it; its process is {}", shim.handle.pid),
            ));
            return false;
        }
        tracing::info!(sandbox = %id, "end a shim that belongs to no container");
        let told = shim.shut_down().await;
        if let Err(error) = &told {
            tracing::warn!(sandbox = %id, error = %base::error::chain(error), "end a shim");
            shim.end_process().await;
        }
        told.is_ok()
    }

    /// Whether a sandbox is known, as such or as a container's own.
    fn has_cell(&self, id: &SandboxId) -> bool {
        let registry = &self.inner.registry;
        registry.sandbox(id).is_ok()
            || ContainerId::parse(id.as_str()).is_ok_and(|id| registry.get(&id).is_ok())
    }

    /// Whether an engine of this root started the shim of `id`.
    fn owns(&self, id: &SandboxId) -> bool {
        let owner = self.inner.places.owner(id);
        in_place(|| base::record::read_plain(&owner)).is_ok_and(|owner| owner == self.inner.id.as_bytes())
    }

    /// Removes what is below the run directory of containers and sandboxes that are gone.
    pub(super) fn clear_run(&self) {
        let places = &self.inner.places;
        for directory in [places.sandbox_runs(), places.bundles()] {
            let paths = match base::fs::entries(&directory) {
                Ok(paths) => paths,
                Err(error) => {
                    self.trouble(Trouble::new("what runs", &directory, &error));
                    continue;
                }
            };
            for path in paths {
                if !self.is_left_over(&path) {
                    continue;
                }
                let cleared = crate::sandbox::memory::unmount(&path.join("shm"))
                    .and_then(|()| {
                        base::mounts::take_away(&path.join(crate::places::IMAGES))
                            .context(|| format!("unmount what is below `{}`", path.display()))
                    })
                    .and_then(|()| self.discard(&path, &self.inner.places.run_trash()));
                if let Err(error) = cleared {
                    self.trouble(Trouble::new("what is left of a sandbox", &path, &error));
                }
            }
        }
    }

    /// Gives up network namespaces of sandboxes that are gone.
    pub(super) async fn clear_namespaces(&self) {
        let owners = match self.inner.network.netns_owners().await {
            Ok(owners) => owners,
            Err(error) => {
                return self.trouble(Trouble::new("network namespaces", &self.inner.places.netns(), &error));
            }
        };
        let is_left_over = |owner: &&String| offload::in_place(|| self.is_left_over(Path::new(owner)));
        for owner in owners.iter().filter(is_left_over) {
            if let Err(error) = self.inner.network.netns_give_up(owner).await {
                tracing::warn!(owner, error = %base::error::chain(&error), "give a network namespace up");
            }
        }
    }

    /// Removes control groups of what was being made or removed when the engine was killed.
    pub(super) fn clear_groups(&self) {
        let is_left_over = |name: &str| self.is_left_over(Path::new(name));
        crate::cgroup::clear(self.inner.places.own_group(), &is_left_over);
    }

    fn is_left_over(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let has_shim = self.inner.places.socket(name).exists();
        SandboxId::parse(name).is_ok() && !self.may_belong(name) && !has_shim
    }
}

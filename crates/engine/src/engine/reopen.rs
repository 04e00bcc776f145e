//! Opening an engine on what an earlier one left: its containers may have gone on without it.

mod clear;
mod records;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use base::Trouble;
use futures::StreamExt;
use runtime::shim::protocol::Sandbox;
use runtime::spec::Status as ShimStatus;

use crate::container::life::Input;
use crate::engine::Engine;
use crate::error::Context;
use crate::id::{ContainerId, SandboxId};
use crate::registry::{AnySandbox, ContainerCell};
use crate::sandbox::wire::remember;
use crate::shim::{Found, Shim};
use crate::work::{blocking, in_place};

/// How many shims are dealt with at once.
const AT_ONCE: usize = 32;
/// How many are asked at once what they hold: each that says nothing is waited for.
const ASKED_AT_ONCE: usize = 256;

/// The shims that live, by sandbox; what one holds is not known if it does not answer.
pub(super) type Shims = BTreeMap<SandboxId, (Arc<Shim>, Option<Sandbox>)>;

impl Engine {
    /// Finds everything again. What cannot be taken up hides nothing else, and is left alone.
    pub(super) async fn reopen(&self) {
        in_place(|| {
            self.finish_making();
            self.empty_trash();
            self.read_sandboxes();
            self.read_containers();
        });
        let shims = self.find_shims().await;
        self.clear_strangers(&shims).await;
        // One whose sandbox could not be read, or whose shim could not be ended, stays: it may run.
        let is_gone = |id: &SandboxId| {
            let lives = |(shim, _): &(Arc<Shim>, _)| shim.handle.is_alive();
            !self.may_belong(id.as_str()) && !shims.get(id).is_some_and(lives)
        };
        self.inner.id_blocks.give_back_where(is_gone);
        for cell in self.inner.registry.sandboxes() {
            match shims.get(&cell.id) {
                Some(found) => self.readmit_shim(&AnySandbox::Shared(cell), found).await,
                None => self.clear_endpoints(&cell.id).await,
            }
        }
        in_place(|| self.readmit_snapshots());
        let cells = futures::stream::iter(self.inner.registry.all());
        cells
            .for_each_concurrent(AT_ONCE, async |cell| {
                let found = shims.get(&cell.sandbox.id);
                if cell.sandbox.is_of_one()
                    && let Some(found) = found
                {
                    self.readmit_shim(&cell.sandbox, found).await;
                }
                self.catch_up(&cell, found).await;
                if cell.record().is_transient() {
                    self.end_transient(cell);
                }
            })
            .await;
        in_place(|| {
            // Where everybody is is known by now, as it was when the files were written.
            self.learn_files();
            self.clear_run();
            self.clear_groups();
            self.volumes_clear();
        });
        self.clear_namespaces().await;
    }

    /// The shims that live, and what those hold that answer. The sockets of the others are removed.
    async fn find_shims(&self) -> Shims {
        let asked = futures::stream::iter(in_place(|| self.shim_sockets())).map(async |(id, path)| {
            let found = match Shim::find(&path).await {
                Ok(Found::Nothing) => {
                    let _ = in_place(|| std::fs::remove_file(&path));
                    return None;
                }
                // That it could not be asked says nothing about it.
                Err(error) => {
                    tracing::error!(sandbox = %id, error = %base::error::chain(&error), "a shim could not be asked");
                    Found::Silent(None)
                }
                Ok(found) => found,
            };
            Some((id, path, found))
        });
        let asked: Vec<_> =
            asked.buffer_unordered(ASKED_AT_ONCE).filter_map(async |found| found).collect().await;
        let (mut shims, mut silent) = (Shims::new(), Vec::new());
        for (id, path, found) in asked {
            match found {
                Found::Shim(shim, state) => drop(shims.insert(id, (Arc::new(shim), Some(state)))),
                Found::Silent(listener) => silent.push((id, path, listener)),
                Found::Nothing => {}
            }
        }
        for shim in unheard(silent).await {
            let (id, pid) = (shim.handle.id.as_str(), shim.handle.pid);
            tracing::error!(sandbox = id, pid, "a shim does not answer: its containers cannot be reached");
            if let Ok(id) = SandboxId::parse(id) {
                shims.insert(id, (Arc::new(shim), None));
            }
        }
        shims
    }

    /// Where shims may listen: every socket that there is. Where those cannot be listed, that of
    /// every sandbox that is known.
    fn shim_sockets(&self) -> BTreeMap<SandboxId, PathBuf> {
        let directory = self.inner.places.shims();
        match base::fs::entries(&directory) {
            Ok(paths) => {
                let is_socket =
                    |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sock");
                let named = |path: PathBuf| Some((SandboxId::parse(path.file_stem()?.to_str()?).ok()?, path));
                paths.into_iter().filter(is_socket).filter_map(named).collect()
            }
            Err(error) => {
                self.trouble(Trouble::new("what is not known to hold containers", &directory, &error));
                let registry = &self.inner.registry;
                let ids = registry.all().into_iter().map(|cell| cell.sandbox.id.clone());
                let ids = ids.chain(registry.sandboxes().into_iter().map(|cell| cell.id.clone()));
                ids.map(|id| (id.clone(), self.inner.places.socket(id.as_str()))).collect()
            }
        }
    }

    /// Attaches to a shim that went on without the engine.
    async fn readmit_shim(&self, cell: &AnySandbox, (shim, state): &(Arc<Shim>, Option<Sandbox>)) {
        {
            let mut live = cell.live.write();
            live.shim = Some(Arc::clone(shim));
            let views = self.inner.network.network_list();
            for endpoint in self.inner.network.endpoint_list() {
                if endpoint.owner != cell.id.as_str() {
                    continue;
                }
                if let Some(network) = views.iter().find(|view| view.id == endpoint.network) {
                    let asked = self.asked_of(cell, &network.name);
                    remember(&mut live, network, asked, &endpoint);
                }
            }
        }
        self.pin_again(cell, shim).await;
        if state.is_none() {
            return self.listen_later(cell.clone(), Arc::clone(shim));
        }
        if let Err(error) = self.listen(cell.clone(), Arc::clone(shim)).await {
            tracing::warn!(sandbox = %cell.id, error = %base::error::chain(&error), "listen to a shim");
            self.listen_later(cell.clone(), Arc::clone(shim));
        }
    }

    /// Pins the network namespace of a sandbox that an engine made which pinned none.
    async fn pin_again(&self, cell: &AnySandbox, shim: &Shim) {
        if !self.has_own_network(cell) || self.inner.network.netns_pinned(cell.id.as_str()).is_some() {
            return;
        }
        let pinned = match shim.handle.network_namespace() {
            Ok(netns) => self.pin_netns(&cell.id, &netns).await,
            Err(error) => Err(error).context(|| "open a network namespace".to_owned()),
        };
        if let Err(error) = pinned {
            tracing::warn!(sandbox = %cell.id, error = %base::error::chain(&error), "a network namespace is not pinned");
        }
    }

    /// Whether a sandbox's network namespace is neither the host's nor another's.
    fn has_own_network(&self, cell: &AnySandbox) -> bool {
        use crate::container::NetworkMode::{Bridge, Network, None};
        match cell {
            AnySandbox::Shared(shared) => shared.spec.network != crate::sandbox::SandboxNetwork::Host,
            AnySandbox::OfOne(cell) => {
                let container = ContainerId::parse(cell.id.as_str()).ok();
                let container = container.and_then(|id| self.inner.registry.get(&id).ok());
                container.is_some_and(|container| {
                    let mode = &container.record().spec.namespaces.network;
                    matches!(mode, Bridge | Network(_) | None)
                })
            }
        }
    }

    fn asked_of(&self, cell: &AnySandbox, network: &str) -> crate::network::EndpointSpec {
        let of = |networks: &[(String, crate::network::EndpointSpec)]| {
            networks
                .iter()
                .find(|(name, _)| name == network)
                .map(|(_, spec)| spec.clone())
                .unwrap_or_default()
        };
        match cell {
            AnySandbox::Shared(shared) => match &shared.spec.network {
                crate::sandbox::SandboxNetwork::Networks(networks) => of(networks),
                _ => Default::default(),
            },
            AnySandbox::OfOne(cell) => {
                let container = ContainerId::parse(cell.id.as_str())
                    .ok()
                    .and_then(|id| self.inner.registry.get(&id).ok());
                container.map(|container| of(&container.record().networks)).unwrap_or_default()
            }
        }
    }

    /// Brings what is known of a container up to what happened while nobody looked.
    async fn catch_up(&self, cell: &Arc<ContainerCell>, found: Option<&(Arc<Shim>, Option<Sandbox>)>) {
        let shim = found.and_then(|(_, state)| state.as_ref());
        if cell.status().is_active() && found.is_some() && shim.is_none() {
            // Nobody can say. It is what it was, until its shim answers or has ended.
            self.watch_health(cell);
            return;
        }
        let held = shim.and_then(|shim| shim.containers.iter().find(|held| held.id == cell.id.as_str()));
        if cell.status().is_active() {
            match held {
                Some(held) => match (&held.exit, held.status) {
                    (Some(exit), _) => self.on_exit(cell, exit, None).await,
                    (None, status) => {
                        // What was written down of it may have been lost.
                        let frozen = status == ShimStatus::Paused;
                        let effects = self.step_of_fact(cell, &Input::Found { pid: held.pid, frozen });
                        cell.tell(|_| {});
                        self.perform(cell, effects);
                        self.watch_health(cell);
                    }
                },
                None => self.on_lost(cell, "the container was lost while the engine was away").await,
            }
            return;
        }
        let _operation = cell.operation.lock().await;
        // A start that was interrupted left a shim, or a container in its sandbox's.
        if held.is_some() || (cell.sandbox.is_of_one() && found.is_some()) {
            self.take_down(cell).await;
        } else if cell.sandbox.is_of_one() {
            self.clear_endpoints(&cell.sandbox.id).await;
        }
        let made_in = cell.record().made_in.clone();
        let rebooted = !made_in.is_empty() && made_in != self.inner.boot;
        let effects = self.step_of_fact(cell, &Input::Reopened { rebooted });
        cell.tell(|_| {});
        self.perform(cell, effects);
    }

    /// Gives up what a sandbox that is down still has of the network: a taking down may have been cut off.
    pub(crate) async fn clear_endpoints(&self, id: &SandboxId) {
        if let Err(error) = self.inner.network.netns_give_up(id.as_str()).await {
            tracing::warn!(sandbox = %id, error = %base::error::chain(&error), "give a network namespace up");
        }
        let has = self.inner.network.endpoint_list().iter().any(|endpoint| endpoint.owner == id.as_str());
        if has && let Err(error) = self.inner.network.endpoint_detach_all(id.as_str()).await {
            tracing::warn!(sandbox = %id, error = %base::error::chain(&error), "give a network address back");
        }
    }
}

/// What can be known of shims that do not answer.
async fn unheard(silent: Vec<(SandboxId, PathBuf, Option<u32>)>) -> Vec<Shim> {
    if silent.is_empty() {
        return Vec::new();
    }
    let look = move || {
        let wanted: Vec<_> = silent.iter().map(|(id, _, listener)| (id.as_str(), *listener)).collect();
        let processes = runtime::shim::find_processes(&wanted);
        let shims = silent.iter().zip(processes).map(|((id, path, _), found)| Shim::unheard(path, id, found));
        Ok(shims.collect())
    };
    blocking(look).await.unwrap_or_default()
}

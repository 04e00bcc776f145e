//! What the engine knows of its containers and sandboxes while it runs.

mod container;
mod sandbox;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{Error, Fact, Result};
use crate::id::{ContainerId, SandboxId};

pub(crate) use container::{ContainerCell, Pulse, WaitingClient};
pub(crate) use sandbox::{AnySandbox, Live, SandboxCell, SharedSandbox};

/// All containers and sandboxes.
#[derive(Default)]
pub(crate) struct Registry {
    containers: RwLock<Containers>,
    sandboxes: RwLock<HashMap<SandboxId, Arc<SharedSandbox>>>,
}

/// Keeps a name for a container that is being made.
pub(crate) struct NameClaim<'a> {
    registry: &'a Registry,
    name: String,
    id: ContainerId,
}

#[derive(Default)]
struct Containers {
    by_id: BTreeMap<ContainerId, Arc<ContainerCell>>,
    by_name: HashMap<String, ContainerId>,
    /// Names of containers that are being made.
    claimed: BTreeMap<String, ContainerId>,
}

impl Registry {
    /// Adds a container; its name must be free.
    pub(crate) fn add(&self, cell: Arc<ContainerCell>) -> Result<()> {
        let mut containers = self.containers.write();
        let name = cell.record().name.clone();
        containers.check_name(&name, &cell.id)?;
        containers.claimed.remove(&name);
        containers.by_name.insert(name, cell.id.clone());
        containers.by_id.insert(cell.id.clone(), cell);
        Ok(())
    }

    /// Forgets a container and its name.
    pub(crate) fn forget(&self, id: &ContainerId) {
        let mut containers = self.containers.write();
        if containers.by_id.remove(id).is_some() {
            containers.by_name.retain(|_, holder| holder != id);
        }
    }

    /// Takes a name, which must be free, for a container that is to be called so: it keeps the one that
    /// it has too, until one of both is [given up](Registry::give_up_name).
    pub(crate) fn take_name(&self, id: &ContainerId, name: &str) -> Result<()> {
        let mut containers = self.containers.write();
        containers.check_name(name, id)?;
        if !containers.by_id.contains_key(id) {
            return Err(no_such_container(id.as_str()));
        }
        containers.by_name.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Gives up a name of a container.
    pub(crate) fn give_up_name(&self, id: &ContainerId, name: &str) {
        let mut containers = self.containers.write();
        if containers.by_name.get(name) == Some(id) {
            containers.by_name.remove(name);
        }
    }

    /// Keeps a free name for the container `id`, which is being made, until that is added or the claim
    /// is dropped.
    pub(crate) fn claim_name(&self, name: &str, id: &ContainerId) -> Result<NameClaim<'_>> {
        let mut containers = self.containers.write();
        containers.check_name(name, id)?;
        containers.claimed.insert(name.to_owned(), id.clone());
        Ok(NameClaim { registry: self, name: name.to_owned(), id: id.clone() })
    }

    pub(crate) fn get(&self, id: &ContainerId) -> Result<Arc<ContainerCell>> {
        self.containers.read().by_id.get(id).cloned().ok_or_else(|| no_such_container(id.as_str()))
    }

    /// Finds a container by id, name, or unique prefix of an id.
    pub(crate) fn find(&self, reference: &str) -> Result<ContainerId> {
        let containers = self.containers.read();
        if let Ok(id) = ContainerId::parse(reference)
            && containers.by_id.contains_key(&id)
        {
            return Ok(id);
        }
        if let Some(id) = containers.by_name.get(reference.strip_prefix('/').unwrap_or(reference)) {
            return Ok(id.clone());
        }
        if reference.is_empty() {
            return Err(no_such_container(reference));
        }
        let mut matches = containers.by_id.keys().filter(|id| id.as_str().starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(Fact::ManyContainers { prefix: reference.to_owned() }.into()),
            (None, _) => Err(no_such_container(reference)),
        }
    }

    /// All containers.
    pub(crate) fn all(&self) -> Vec<Arc<ContainerCell>> {
        self.containers.read().by_id.values().cloned().collect()
    }

    /// The containers of a sandbox.
    pub(crate) fn of_sandbox(&self, id: &SandboxId) -> Vec<Arc<ContainerCell>> {
        self.containers.read().by_id.values().filter(|cell| cell.sandbox.id == *id).cloned().collect()
    }

    pub(crate) fn sandbox_add(&self, cell: Arc<SharedSandbox>) {
        self.sandboxes.write().insert(cell.id.clone(), cell);
    }

    pub(crate) fn sandbox_forget(&self, id: &SandboxId) {
        self.sandboxes.write().remove(id);
    }

    /// A sandbox that was made as such.
    pub(crate) fn sandbox(&self, id: &SandboxId) -> Result<Arc<SharedSandbox>> {
        let found = self.sandboxes.read().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("No such sandbox: {id}")))
    }

    pub(crate) fn sandboxes(&self) -> Vec<Arc<SharedSandbox>> {
        self.sandboxes.read().values().cloned().collect()
    }
}

impl Containers {
    /// Whether `id` may have a name, or whose it is.
    fn check_name(&self, name: &str, id: &ContainerId) -> Result<()> {
        let holder = self.by_name.get(name).or_else(|| self.claimed.get(name).filter(|holder| *holder != id));
        holder.map_or(Ok(()), |holder| Err(name_taken(name, holder)))
    }
}

impl Drop for NameClaim<'_> {
    fn drop(&mut self) {
        let mut containers = self.registry.containers.write();
        if containers.claimed.get(&self.name) == Some(&self.id) {
            containers.claimed.remove(&self.name);
        }
    }
}

pub(crate) fn no_such_container(reference: &str) -> Error {
    Fact::NoContainer { reference: reference.to_owned() }.into()
}

fn name_taken(name: &str, holder: &ContainerId) -> Error {
    Fact::NameTaken { name: name.to_owned(), holder: holder.clone() }.into()
}

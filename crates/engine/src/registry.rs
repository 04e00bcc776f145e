//! What the engine knows of its containers and sandboxes while it runs.

mod container;
mod index;
mod sandbox;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{Error, Fact, Result};
use crate::id::{ContainerId, SandboxId};

pub(crate) use container::{ContainerCell, Pulse, WaitingClient};
use index::LabelIndex;
pub(crate) use sandbox::{AnySandbox, Live, SandboxCell, SharedSandbox};

/// All containers and sandboxes.
#[derive(Default)]
pub(crate) struct Registry {
    containers: RwLock<Containers>,
    /// Those that have links to others: few, if any.
    linking: RwLock<BTreeSet<ContainerId>>,
    sandboxes: RwLock<Sandboxes>,
}

/// Which containers are looked at: those that one of these conditions leaves, the narrowest. The others are
/// for who looks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Among<'a> {
    /// Of this sandbox.
    pub(crate) sandbox: Option<&'a SandboxId>,
    /// With all of these labels, `key` or `key=value`.
    pub(crate) labels: &'a [String],
}

/// Keeps a name for a container that is being made.
pub(crate) struct NameClaim<'a> {
    registry: &'a Registry,
    name: String,
    id: ContainerId,
}

#[derive(Default)]
struct Containers {
    by_id: BTreeMap<ContainerId, Known>,
    by_name: HashMap<String, ContainerId>,
    by_sandbox: HashMap<SandboxId, BTreeSet<ContainerId>>,
    by_label: LabelIndex<ContainerId>,
    /// Names of containers that are being made.
    claimed: BTreeMap<String, ContainerId>,
}

/// A container, with what leads to it.
struct Known {
    cell: Arc<ContainerCell>,
    /// One, or two while it is being renamed.
    names: Vec<String>,
}

#[derive(Default)]
struct Sandboxes {
    by_id: HashMap<SandboxId, Arc<SharedSandbox>>,
    by_label: LabelIndex<SandboxId>,
}

impl Registry {
    /// Adds a container; its name must be free.
    pub(crate) fn add(&self, cell: Arc<ContainerCell>) -> Result<()> {
        let mut containers = self.containers.write();
        let (id, record) = (cell.id.clone(), cell.record());
        if !record.spec.links.is_empty() {
            self.linking.write().insert(id.clone());
        }
        let name = record.name.clone();
        containers.check_name(&name, &id)?;
        containers.claimed.remove(&name);
        containers.by_name.insert(name.clone(), id.clone());
        containers.by_sandbox.entry(cell.sandbox.id.clone()).or_default().insert(id.clone());
        containers.by_label.insert(&id, &record.resolved.labels);
        containers.by_id.insert(id, Known { cell, names: vec![name] });
        Ok(())
    }

    /// Forgets a container and its name.
    pub(crate) fn forget(&self, id: &ContainerId) {
        let mut containers = self.containers.write();
        let Some(Known { cell, names }) = containers.by_id.remove(id) else { return };
        self.linking.write().remove(id);
        for name in names {
            containers.by_name.remove(&name);
        }
        if let Some(of_sandbox) = containers.by_sandbox.get_mut(&cell.sandbox.id) {
            of_sandbox.remove(id);
            if of_sandbox.is_empty() {
                containers.by_sandbox.remove(&cell.sandbox.id);
            }
        }
        containers.by_label.remove(id, &cell.record().resolved.labels);
    }

    /// Takes a name, which must be free, for a container that is to be called so: it keeps the one that
    /// it has too, until one of both is [given up](Registry::give_up_name).
    pub(crate) fn take_name(&self, id: &ContainerId, name: &str) -> Result<()> {
        let mut containers = self.containers.write();
        containers.check_name(name, id)?;
        let known = containers.by_id.get_mut(id).ok_or_else(|| no_such_container(id.as_str()))?;
        known.names.push(name.to_owned());
        containers.by_name.insert(name.to_owned(), id.clone());
        Ok(())
    }

    /// Gives up a name of a container.
    pub(crate) fn give_up_name(&self, id: &ContainerId, name: &str) {
        let mut containers = self.containers.write();
        if containers.by_name.get(name) == Some(id) {
            containers.by_name.remove(name);
            if let Some(known) = containers.by_id.get_mut(id) {
                known.names.retain(|known| known != name);
            }
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
        let containers = self.containers.read();
        let known = containers.by_id.get(id).ok_or_else(|| no_such_container(id.as_str()))?;
        Ok(Arc::clone(&known.cell))
    }

    /// The containers that have links to others.
    pub(crate) fn linking(&self) -> Vec<Arc<ContainerCell>> {
        let ids: Vec<ContainerId> = self.linking.read().iter().cloned().collect();
        ids.iter().filter_map(|id| self.get(id).ok()).collect()
    }

    /// Finds a container by id, name, unique prefix of an id, or what another calls it (`container/alias`).
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
        if let Some(id) = containers.linked(reference) {
            return Ok(id);
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
        self.among(Among::default())
    }

    /// The containers of a sandbox.
    pub(crate) fn of_sandbox(&self, id: &SandboxId) -> Vec<Arc<ContainerCell>> {
        self.among(Among { sandbox: Some(id), ..Among::default() })
    }

    /// The containers among which all are that meet these conditions, in order of their ids.
    pub(crate) fn among(&self, conditions: Among<'_>) -> Vec<Arc<ContainerCell>> {
        let containers = self.containers.read();
        let cell = |id: &ContainerId| containers.by_id.get(id).map(|known| Arc::clone(&known.cell));
        if let Some(sandbox) = conditions.sandbox {
            return containers.by_sandbox.get(sandbox).into_iter().flatten().filter_map(cell).collect();
        }
        match containers.by_label.narrowest(conditions.labels) {
            Some(ids) => ids.iter().filter_map(cell).collect(),
            None => containers.by_id.values().map(|known| Arc::clone(&known.cell)).collect(),
        }
    }

    pub(crate) fn sandbox_add(&self, cell: Arc<SharedSandbox>) {
        let mut sandboxes = self.sandboxes.write();
        sandboxes.by_label.insert(&cell.id, &cell.spec.labels);
        sandboxes.by_id.insert(cell.id.clone(), cell);
    }

    pub(crate) fn sandbox_forget(&self, id: &SandboxId) {
        let mut sandboxes = self.sandboxes.write();
        if let Some(cell) = sandboxes.by_id.remove(id) {
            sandboxes.by_label.remove(id, &cell.spec.labels);
        }
    }

    /// A sandbox that was made as such.
    pub(crate) fn sandbox(&self, id: &SandboxId) -> Result<Arc<SharedSandbox>> {
        let found = self.sandboxes.read().by_id.get(id).cloned();
        found.ok_or_else(|| no_such_sandbox(id))
    }

    /// All sandboxes that were made as such.
    pub(crate) fn sandboxes(&self) -> Vec<Arc<SharedSandbox>> {
        self.sandboxes_among(&[])
    }

    /// The sandboxes among which all are that have these labels, `key` or `key=value`.
    pub(crate) fn sandboxes_among(&self, labels: &[String]) -> Vec<Arc<SharedSandbox>> {
        let sandboxes = self.sandboxes.read();
        match sandboxes.by_label.narrowest(labels) {
            Some(ids) => ids.iter().filter_map(|id| sandboxes.by_id.get(id).cloned()).collect(),
            None => sandboxes.by_id.values().cloned().collect(),
        }
    }
}

impl Containers {
    /// Whom the container of a name calls by an alias: `container/alias`.
    fn linked(&self, reference: &str) -> Option<ContainerId> {
        let (of, alias) = reference.strip_prefix('/').unwrap_or(reference).rsplit_once('/')?;
        let of = self.by_id.get(self.by_name.get(of)?)?.cell.record();
        let link = of.spec.links.iter().find(|link| link.alias == alias)?;
        Some(link.container.clone())
    }

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

fn no_such_sandbox(id: &SandboxId) -> Error {
    Error::not_found(format!("No such sandbox: {id}"))
}

fn name_taken(name: &str, holder: &ContainerId) -> Error {
    Fact::NameTaken { name: name.to_owned(), holder: holder.clone() }.into()
}

#[cfg(test)]
mod tests;

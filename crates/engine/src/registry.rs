//! What the engine knows of its containers and sandboxes while it runs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Arc;

use base::cancel::Cancel;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::container::{ContainerRecord, PublishedPort, Status};
use crate::error::{Error, Fact, Operation, Result};
use crate::id::{ContainerId, SandboxId};
use crate::network::Endpoint;
use crate::sandbox::SandboxSpec;
use crate::shim::Shim;
use crate::stream::{ExitStatus, InputFrame, OutputKind};

/// How long a start is waited for by who wants the container to end.
const START_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// One container.
pub(crate) struct ContainerCell {
    pub(crate) id: ContainerId,
    /// Held by an operation that changes the container. Never held while waiting for its program.
    pub(crate) operation: Arc<tokio::sync::Mutex<()>>,
    record: RwLock<Arc<ContainerRecord>>,
    pulse: watch::Sender<Pulse>,
    pub(crate) sandbox: AnySandbox,
    /// Those who attached before the start.
    pub(crate) waiting: Mutex<Vec<WaitingClient>>,
    /// Interrupts the start that is under way.
    starting: Mutex<Option<CancellationToken>>,
    /// Interrupts the making of an image that is under way.
    committing: Mutex<Cancel>,
    /// Wakes the health checks when it is dropped or replaced.
    pub(crate) health: Mutex<Option<tokio_util::sync::DropGuard>>,
    /// Its first process as its shim told it: number, and start in clock ticks since boot.
    pub(crate) started: Mutex<Option<(u32, u64)>>,
}

/// What those who wait for a container see.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    pub(crate) status: Status,
    /// Counts the ends of its runs.
    pub(crate) exits: u64,
    pub(crate) last_exit: ExitStatus,
    pub(crate) removed: bool,
}

/// A client that attached to a container before its start.
pub(crate) struct WaitingClient {
    pub(crate) pieces: mpsc::Sender<Result<(OutputKind, bytes::Bytes)>>,
    pub(crate) frames: mpsc::Receiver<InputFrame>,
    pub(crate) exit: oneshot::Sender<ExitStatus>,
    pub(crate) stdin: bool,
}

/// A sandbox, of either kind.
#[derive(Clone)]
pub(crate) enum AnySandbox {
    /// Made for one container: it comes up when that starts, and goes down with it.
    OfOne(Arc<SandboxCell>),
    /// Made as such: it is there before its containers are, and belongs to whoever made it.
    Shared(Arc<SharedSandbox>),
}

/// A sandbox that was made as such.
pub(crate) struct SharedSandbox {
    cell: SandboxCell,
    pub(crate) created: base::Timestamp,
    /// What it was asked to be.
    pub(crate) spec: Arc<SandboxSpec>,
}

/// What every sandbox has.
pub(crate) struct SandboxCell {
    pub(crate) id: SandboxId,
    /// Held by an operation that changes it. One of a single container is changed with that.
    pub(crate) operation: tokio::sync::Mutex<()>,
    pub(crate) live: RwLock<Live>,
}

/// The living side of a sandbox.
#[derive(Clone, Default)]
pub(crate) struct Live {
    pub(crate) shim: Option<Arc<Shim>>,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) ports: Vec<PublishedPort>,
}

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

impl ContainerCell {
    pub(crate) fn new(record: ContainerRecord, sandbox: AnySandbox) -> Self {
        let pulse = Pulse {
            status: record.life.status,
            exits: 0,
            last_exit: ExitStatus { code: record.life.exit_code, error: None },
            removed: false,
        };
        Self {
            id: record.id.clone(),
            operation: Arc::default(),
            record: RwLock::new(Arc::new(record)),
            pulse: watch::Sender::new(pulse),
            sandbox,
            waiting: Mutex::default(),
            starting: Mutex::default(),
            committing: Mutex::default(),
            health: Mutex::default(),
            started: Mutex::default(),
        }
    }

    /// The record as it is now.
    pub(crate) fn record(&self) -> Arc<ContainerRecord> {
        Arc::clone(&self.record.read())
    }

    pub(crate) fn status(&self) -> Status {
        self.record.read().life.status
    }

    /// Changes the record in memory and returns it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ContainerRecord)) -> Arc<ContainerRecord> {
        let mut record = self.record.write();
        change(Arc::make_mut(&mut record));
        Arc::clone(&record)
    }

    /// Wakes those who wait.
    pub(crate) fn tell(&self, tell: impl FnOnce(&mut Pulse)) {
        let status = self.status();
        self.pulse.send_modify(|pulse| {
            pulse.status = status;
            tell(pulse);
        });
    }

    /// Marks that its program is being started; what comes back tells when that is to be given up.
    pub(crate) fn begin_start(&self) -> CancellationToken {
        let token = CancellationToken::new();
        *self.starting.lock() = Some(token.clone());
        token
    }

    pub(crate) fn end_start(&self) {
        self.starting.lock().take();
    }

    /// Marks that an image is being made of it; what comes back tells when that is to be given up.
    pub(crate) fn begin_commit(&self) -> Cancel {
        let cancel = Cancel::default();
        *self.committing.lock() = cancel.clone();
        cancel
    }

    /// Nobody needs an image of it any more. Reading what a container wrote takes as long as it likes.
    pub(crate) fn give_up_commit(&self) {
        self.committing.lock().set();
    }

    /// Waits for the operation under way, if it is a start for a while only: whoever wants a container
    /// to end need not wait for it to begin. The flag says that a start was interrupted.
    pub(crate) async fn lock_to_end(&self) -> (tokio::sync::MutexGuard<'_, ()>, bool) {
        if let Ok(operation) = tokio::time::timeout(START_PATIENCE, self.operation.lock()).await {
            return (operation, false);
        }
        let starting = self.starting.lock().take();
        if let Some(starting) = &starting {
            starting.cancel();
        }
        (self.operation.lock().await, starting.is_some())
    }

    pub(crate) fn pulse(&self) -> watch::Receiver<Pulse> {
        self.pulse.subscribe()
    }

    /// The shim that holds it, or an error that says that it does not run.
    pub(crate) fn shim(&self) -> Result<Arc<Shim>> {
        self.sandbox.shim().filter(|_| self.status().is_active()).ok_or_else(|| self.not_running())
    }

    /// That its status forbids an operation.
    pub(crate) fn refuse(&self, operation: Operation) -> Error {
        let record = self.record();
        let (name, status) = (record.name.clone(), record.life.status);
        Fact::Status { container: self.id.clone(), name, status, operation }.into()
    }

    pub(crate) fn not_running(&self) -> Error {
        Error::conflict(format!("container {} is not running", self.id))
    }
}

impl AnySandbox {
    /// The sandbox of one container.
    pub(crate) fn of_container(id: &ContainerId) -> Self {
        Self::OfOne(Arc::new(SandboxCell::new(SandboxId::of_container(id))))
    }

    /// Whether it lives and ends with its only container.
    pub(crate) fn is_of_one(&self) -> bool {
        matches!(self, Self::OfOne(_))
    }
}

impl Deref for AnySandbox {
    type Target = SandboxCell;

    fn deref(&self) -> &SandboxCell {
        match self {
            Self::OfOne(cell) => cell,
            Self::Shared(shared) => shared,
        }
    }
}

impl SharedSandbox {
    pub(crate) fn new(id: SandboxId, created: base::Timestamp, spec: SandboxSpec) -> Arc<Self> {
        Arc::new(Self { cell: SandboxCell::new(id), created, spec: Arc::new(spec) })
    }
}

impl Deref for SharedSandbox {
    type Target = SandboxCell;

    fn deref(&self) -> &SandboxCell {
        &self.cell
    }
}

impl SandboxCell {
    fn new(id: SandboxId) -> Self {
        Self { id, operation: tokio::sync::Mutex::default(), live: RwLock::default() }
    }

    pub(crate) fn shim(&self) -> Option<Arc<Shim>> {
        self.live.read().shim.clone()
    }
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

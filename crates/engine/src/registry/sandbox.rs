//! One sandbox, of one container or shared.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::container::PublishedPort;
use crate::error::{Error, Kind, Result};
use crate::id::{ContainerId, SandboxId};
use crate::network::Endpoint;
use crate::sandbox::SandboxSpec;
use crate::shim::Shim;

/// How long containers that are being made are waited for.
const BEING_MADE: Duration = Duration::from_secs(10);

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
    /// Whether it is being removed.
    going: AtomicBool,
    /// Read for as long as a container is made in it.
    entries: Arc<tokio::sync::RwLock<()>>,
    pub(crate) created: base::Timestamp,
    /// What it was asked to be.
    pub(crate) spec: Arc<SandboxSpec>,
}

/// That a container is being made in a sandbox.
pub(crate) struct Entry {
    _entry: tokio::sync::OwnedRwLockReadGuard<()>,
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
        let (going, entries) = (AtomicBool::new(false), Arc::default());
        Arc::new(Self { cell: SandboxCell::new(id), going, entries, created, spec: Arc::new(spec) })
    }

    /// Lets a container be made in it: as long as what is given is held, it is not removed.
    pub(crate) async fn enter(&self) -> Result<Entry> {
        let open = || match self.going.load(Ordering::SeqCst) {
            true => Err(super::no_such_sandbox(&self.id)),
            false => Ok(()),
        };
        // Nobody stands behind whoever waits for those that are being made.
        open()?;
        let entry = Arc::clone(&self.entries).read_owned().await;
        open().map(|()| Entry { _entry: entry })
    }

    /// Lets no more containers be made in it, and returns when those that are being made have been. One may hang
    /// at a file that somebody else serves.
    pub(crate) async fn close(&self) -> Result<()> {
        self.going.store(true, Ordering::SeqCst);
        match tokio::time::timeout(BEING_MADE, self.entries.write()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::new(
                Kind::Unavailable,
                format!("a container is still being made in the sandbox {}; try again later", self.id),
            )),
        }
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

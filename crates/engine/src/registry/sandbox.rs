//! One sandbox, of one container or shared.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::container::PublishedPort;
use crate::error::Result;
use crate::id::{ContainerId, SandboxId};
use crate::network::Endpoint;
use crate::sandbox::SandboxSpec;
use crate::shim::Shim;

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
    /// Whether it is being removed: read for as long as a container is made in it.
    going: Arc<tokio::sync::RwLock<bool>>,
    pub(crate) created: base::Timestamp,
    /// What it was asked to be.
    pub(crate) spec: Arc<SandboxSpec>,
}

/// That a container is being made in a sandbox.
pub(crate) struct Entry {
    _going: tokio::sync::OwnedRwLockReadGuard<bool>,
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
        Arc::new(Self { cell: SandboxCell::new(id), going: Arc::default(), created, spec: Arc::new(spec) })
    }

    /// Lets a container be made in it: as long as what is given is held, it is not removed.
    pub(crate) async fn enter(&self) -> Result<Entry> {
        let going = Arc::clone(&self.going).read_owned().await;
        if *going { Err(super::no_such_sandbox(&self.id)) } else { Ok(Entry { _going: going }) }
    }

    /// Lets no more containers be made in it, and returns when those that are being made have been.
    pub(crate) async fn close(&self) {
        *self.going.write().await = true;
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

//! One container.

use std::sync::Arc;

use base::cancel::Cancel;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::AnySandbox;
use crate::container::{ContainerRecord, Status};
use crate::error::{Error, Fact, Operation, Result};
use crate::etc::Written;
use crate::id::ContainerId;
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
    /// What was written into its own files of `/etc`; held while they are written. `None` where that is not known.
    pub(crate) files: Mutex<Option<Written>>,
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

impl ContainerCell {
    /// Whether it is a step of a build's, which is shown to nobody.
    pub(crate) fn is_hidden(&self) -> bool {
        self.record.read().spec.layers.is_some()
    }

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
            files: Mutex::default(),
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

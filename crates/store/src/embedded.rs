//! The backend inside the process: current values and recent history in memory, a log on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::Clock;
use futures::future::BoxFuture;

use crate::{Error, LeaseId, Range, RangeResult, Revision, Status, Store, Txn, TxnResult, Watch, Watcher};

/// A store in one directory, opened by one process at a time.
pub struct Embedded {}

/// How an [`Embedded`] store keeps its history.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long superseded values can still be read and watched; `None` for no limit.
    pub history_age: Option<Duration>,
    /// How many changes are kept at most, whatever their age.
    pub history_events: usize,
    /// How many bytes of superseded values are kept at most, whatever their age.
    pub history_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { history_age: Some(Duration::from_secs(300)), history_events: 50_000, history_bytes: 32 << 20 }
    }
}

/// Why an [`Embedded`] store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("the store in `{}` is in use by another process: stop that one, or choose another root", path.display())]
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
}

impl Embedded {
    /// Opens the store in the directory `path`, which is made if it is not there. Blocks.
    pub fn open(path: &Path, options: Options, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let _ = (path, options, clock);
        todo!()
    }
}

impl Store for Embedded {
    fn range(&self, _request: Range) -> BoxFuture<'_, Result<RangeResult, Error>> {
        todo!()
    }

    fn txn(&self, _txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>> {
        todo!()
    }

    fn watch(&self, _request: Watch) -> BoxFuture<'_, Result<Watcher, Error>> {
        todo!()
    }

    fn compact(&self, _revision: Revision) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }

    fn lease_grant(&self, _ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        todo!()
    }

    fn lease_renew(&self, _lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }

    fn lease_revoke(&self, _lease: LeaseId) -> BoxFuture<'_, Result<(), Error>> {
        todo!()
    }

    fn status(&self) -> BoxFuture<'_, Result<Status, Error>> {
        todo!()
    }
}

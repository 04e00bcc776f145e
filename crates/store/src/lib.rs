//! Multi-version key-value store with revisions, transactions, watch, leases and compaction.
//!
//! The meaning is etcd's: one global [`Revision`] that every writing transaction raises by one,
//! per key a create revision, a modification revision and a version, reads at any revision that is
//! not compacted yet, transactions that compare before they write, watches from a revision on.
//! Everything durable in the cluster lives behind the [`Store`] trait.
//!
//! [`Embedded`] is the backend inside the process: acknowledged means flushed to disk, reads and
//! watches never touch the disk. [`Etcd`] is the one elsewhere, on which several servers can stand. Every
//! backend passes the suite in `tests/suite`.
//!
//! ```
//! # async fn example(store: &dyn store::Store) -> Result<(), store::Error> {
//! use store::{Expect, KeyRange, Range, StoreExt, Watch};
//! let revision = store.put_if("pods/a", "{}", Expect::Absent).await?.expect("it was absent");
//! let listed = store.range(Range::new(KeyRange::prefix("pods/"))).await?;
//! assert_eq!(listed.items[0].mod_revision, revision);
//! let mut watch = store.watch(Watch::new(KeyRange::prefix("pods/")).after(listed.revision)).await?;
//! store.put("pods/a", "{\"x\":1}").await?;
//! let _message = watch.next().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod embedded;
mod error;
pub mod etcd;
mod ext;
mod kv;
mod request;
mod sealed;
mod watch;

use std::time::Duration;

use futures::future::BoxFuture;

pub use embedded::{
    CopyError, Damage, Embedded, LogError, OpenError, Options, Report, backup, check, restore,
};
pub use error::Error;
pub use etcd::{ConnectError, Etcd, EtcdOptions};
pub use ext::StoreExt;
pub use kv::{Event, EventKind, Key, KeyRange, KeyValue, Revision};
pub use request::{
    Compare, CompareTarget, Conflict, Expect, KEY_LIMIT, LeaseId, OPERATION_LIMIT, Op, OpResult, Put, Range,
    RangeResult, Status, Txn, TxnResult, VALUE_LIMIT,
};
pub use sealed::{Opened, Seal, SealError, Sealed};
pub use watch::{Watch, WatchError, WatchMessage, Watcher};

/// A multi-version key-value store, as a backend implements it; [`StoreExt`] adds what callers like.
///
/// All futures may be dropped at any point; a write whose future is dropped may or may not happen.
pub trait Store: Send + Sync + 'static {
    /// Reads a range of keys, at the current or an earlier revision.
    fn range(&self, request: Range) -> BoxFuture<'_, Result<RangeResult, Error>>;

    /// Compares, then writes and reads, as one step at one revision.
    ///
    /// When it returns, what was written is on disk, and every read that begins later shows it.
    fn txn(&self, txn: Txn) -> BoxFuture<'_, Result<TxnResult, Error>>;

    /// The current revision: everything that was acknowledged before this was asked, by whichever process,
    /// lies at it or before. A watch that was asked for its progress later tells at least so much.
    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>>;

    /// Whether other processes write too, so that what this one has been told may be behind.
    fn is_shared(&self) -> bool;

    /// Follows the changes of a range of keys, in the order of their revisions. One that starts in the
    /// future waits until then.
    fn watch(&self, request: Watch) -> BoxFuture<'_, Result<Watcher, Error>>;

    /// Forgets what was superseded before `revision`: reads and watches from before it fail with
    /// [`Error::Compacted`] from now on.
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), Error>>;

    /// Forgets all that was superseded, in history and on disk: when it returns, no file of the store has any
    /// of it. Takes as long as writing everything anew. A store elsewhere forgets the history; its files are
    /// its own matter (etcd: `etcdctl defrag`).
    fn purge(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Makes a lease: the keys put with it are deleted unless it is renewed every `ttl`.
    ///
    /// The lease outlives a restart, which counts as a renewal. Where many keys hang on it they may go in
    /// several transactions; it cannot be renewed or used any more from the first one on.
    fn lease_grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>>;

    /// Begins the time to live of a lease anew. Costs no disk access.
    fn lease_renew(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// Ends a lease and deletes its keys.
    fn lease_revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<(), Error>>;

    /// How the store fares: revisions, number of keys, whether it can be written.
    fn status(&self) -> BoxFuture<'_, Result<Status, Error>>;

    /// Ends all watches, and waits until the store does nothing by itself any more: what it was told to
    /// write before is written then. What comes to be written later fails with [`Error::Closed`]. May be
    /// called by several, and again.
    fn close(&self) -> BoxFuture<'_, ()>;
}

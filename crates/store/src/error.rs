//! Why a store did not do what it was asked.

use std::io;
use std::sync::Arc;

use crate::{LeaseId, OPERATION_LIMIT, Revision};

/// Why a store did not do what it was asked. Cloned to every caller that the failure concerns.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The history no longer reaches back so far: read or list anew.
    #[error("revision {requested} is compacted, the oldest left is {oldest}")]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The oldest one that can be asked for.
        oldest: Revision,
    },
    /// The revision does not exist yet.
    #[error("revision {requested} is in the future, the current one is {current}")]
    Future {
        /// The revision that was asked for.
        requested: Revision,
        /// The newest there is.
        current: Revision,
    },
    /// A transaction sets one key more than once, or sets one that it deletes.
    #[error("the transaction writes the key `{key}` twice")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// No such lease: it was revoked, or not renewed in time.
    #[error("lease {} does not exist", lease.0)]
    LeaseNotFound {
        /// The lease that was named.
        lease: LeaseId,
    },
    /// A transaction has more operations, or conditions, than a store takes.
    #[error("the transaction has {count} operations, more than the {OPERATION_LIMIT} that the store takes")]
    TooManyOperations {
        /// How many it has.
        count: usize,
    },
    /// The key or value is larger than the store takes.
    #[error("{what} of {size} bytes is larger than the {limit} bytes that the store takes")]
    TooLarge {
        /// `key`, `value` or `transaction`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// The disk is full: until there is space nothing but deletions can be written. Reads go on.
    #[error(
        "the disk that holds the store is full, it takes only deletions until there is space: \
         remove what is not needed, images and logs for example"
    )]
    DiskFull {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk fails: nothing can be written until it works again, reads go on.
    #[error("the disk that holds the store fails, it is read-only until it works again")]
    Disk {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The disk failed while this was being written: it shows after a restart, or never. Read again
    /// what is there before trying anew.
    #[error("the disk that holds the store failed while this was written, it is unknown whether it was")]
    Unsettled {
        /// What the disk said.
        source: Arc<io::Error>,
    },
    /// The store is elsewhere and cannot be reached, or has no leader, at the moment.
    #[error("the store cannot be reached: {message}")]
    Unreachable {
        /// What was said.
        message: String,
    },
    /// The connection broke, or the time ran out, while this was being written: it is unknown whether it
    /// was. Read again what is there before trying anew.
    #[error("it is unknown whether the store has written this: {message}")]
    Unknown {
        /// What was said.
        message: String,
    },
    /// The store refuses this, for a reason of its own.
    #[error("the store refuses: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// A value is kept in a form that cannot be read.
    #[error("the value of `{key}` cannot be read")]
    Sealed {
        /// Whose value.
        key: String,
        /// Why.
        source: crate::SealError,
    },
    /// The store is being closed.
    #[error("the store is closed")]
    Closed,
}

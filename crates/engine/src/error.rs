//! The one error of the engine: a kind that a caller can act on, a fact where fronts have words of their own
//! for it, and a message for everybody else.

mod fact;
mod network_fact;

use std::error::Error as StdError;
use std::fmt;

pub use fact::{Fact, Operation};
pub use network_fact::{EndpointProblem, Link, NetworkFact};

/// The few kinds of failure that a caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing that was named does not exist.
    NotFound,
    /// The thing is in a state, or is used by something, that forbids the operation.
    Conflict,
    /// The request makes no sense, whatever the state.
    Invalid,
    /// A registry or the host refuses it.
    Denied,
    /// A registry does not know who asks, or not by these credentials.
    Unauthorized,
    /// Something outside cannot be reached, or a limit is reached; trying later may help.
    Unavailable,
    /// The disk is full: nothing helps but to free some of it.
    NoSpace,
    /// The thing is already as asked (started, stopped): nothing was done.
    NotModified,
    /// The platform cannot do this.
    Unsupported,
    /// The engine's own fault.
    Internal,
}

/// Why an operation failed.
///
/// The message says what the engine has to say, in words that are no front's. The causes hang on it as sources
/// and are not repeated in it.
pub struct Error {
    kind: Kind,
    fact: Option<Fact>,
    message: String,
    exit_code: Option<i32>,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

/// What a process is said to have ended with whose program is closed to it, does not exist, or was kept from
/// starting by something else.
pub(crate) const NO_RIGHT: i32 = 126;
pub(crate) const NO_PROGRAM: i32 = 127;
pub(crate) const NOT_STARTED: i32 = 128;

/// What every operation returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that says `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, fact: None, message: message.into(), exit_code: None, source: None }
    }

    /// [`Kind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// [`Kind::Conflict`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// [`Kind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// [`Kind::NotModified`].
    pub fn not_modified(message: impl Into<String>) -> Self {
        Self::new(Kind::NotModified, message)
    }

    /// [`Kind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The same error with its cause. Whatever was being tried, a full disk is [`Kind::NoSpace`].
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync + 'static>>) -> Self {
        let source = source.into();
        if is_full_disk(&*source) {
            self.kind = Kind::NoSpace;
        }
        self.source = Some(source);
        self
    }

    /// The same error with the exit code that a process which could not be started is given:
    /// 126 (it, or what it needs, is closed to it), 127 (does not exist) or 128 (anything else).
    pub fn with_exit_code(mut self, code: i32) -> Self {
        self.exit_code = Some(code);
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is the matter, where fronts have words of their own for it.
    pub fn fact(&self) -> Option<&Fact> {
        self.fact.as_ref()
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The exit code of a process that could not be started, if that is what failed.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// The message with all its causes, as a user should read it.
    pub fn full_message(&self) -> String {
        base::error::chain(self).to_string()
    }
}

impl From<Fact> for Error {
    fn from(fact: Fact) -> Self {
        Self { fact: Some(fact.clone()), ..Self::new(fact.kind(), fact.to_string()) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, base::error::chain(self))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Adds what was being tried to a failed system call or other cause.
pub(crate) trait Context<T> {
    /// Wraps the cause in an internal error, unless the disk is full.
    fn context(self, tried: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::internal(tried()).with_source(source))
    }
}

impl<T> Context<T> for Result<T, rustix::io::Errno> {
    fn context(self, tried: impl FnOnce() -> String) -> Result<T> {
        self.map_err(std::io::Error::from).context(tried)
    }
}

/// Whether an error or one of its causes is that the disk is full.
pub(crate) fn is_full_disk(error: &(dyn StdError + 'static)) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| matches!(error.kind(), StorageFull | QuotaExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: std::io::Error, expected: Kind) {
        let inner = Error::conflict("inner").with_source(source);
        assert_eq!(Error::internal("outer").with_source(inner).kind(), expected);
    }

    #[test]
    fn a_full_disk_is_told_whatever_was_being_tried() {
        check(std::io::ErrorKind::StorageFull.into(), Kind::NoSpace);
        check(std::io::ErrorKind::QuotaExceeded.into(), Kind::NoSpace);
        check(std::io::ErrorKind::NotFound.into(), Kind::Internal);
    }
}

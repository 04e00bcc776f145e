//! What etcd says when it does not do something.
//!
//! gRPC's codes alone do not tell: etcd names each of its errors by its text, which its clients go by
//! too (`api/v3rpc/rpctypes/error.go` there).

use std::io;
use std::sync::Arc;

use tonic::{Code, Status};

use crate::Error;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// This client has been closed.
    Closed,
    /// The revision is compacted.
    Compacted,
    /// The revision does not exist yet.
    Future,
    /// There is no such lease.
    LeaseNotFound,
    /// The request is larger than etcd takes.
    TooLarge,
    /// The space that etcd may use is full.
    Full(Status),
    /// It certainly was not taken: there is no connection, or etcd said so before it proposed it.
    NotTaken(Status),
    /// Nobody knows what became of it.
    Unknown(Status),
    /// It was not done.
    Refused(Status),
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        match (status.code(), status.message()) {
            (_, "etcdserver: mvcc: required revision has been compacted") => Self::Compacted,
            (_, "etcdserver: mvcc: required revision is a future revision") => Self::Future,
            (_, "etcdserver: requested lease not found") => Self::LeaseNotFound,
            (_, "etcdserver: request is too large") => Self::TooLarge,
            (_, "etcdserver: mvcc: database space exceeded") => Self::Full(status),
            // Said before a request is proposed to the members. Of one that is on its way to them already
            // etcd says that the server stopped, that the time ran out, or that the leader changed: it may
            // be taken all the same.
            (
                _,
                "etcdserver: no leader"
                | "etcdserver: not leader"
                | "etcdserver: too many requests"
                | "etcdserver: rpc not supported for learner"
                | "etcdserver: not capable",
            ) => Self::NotTaken(status),
            // The server's limit of a message, which is a little above that of a request.
            (Code::ResourceExhausted, text) if text.contains("larger than max") => Self::TooLarge,
            _ if never_sent(&status) => Self::NotTaken(status),
            (
                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal,
                _,
            ) => Self::Unknown(status),
            _ => Self::Refused(status),
        }
    }
}

impl Failure {
    /// Nobody answered in time.
    pub(super) fn silent(reads: bool) -> Self {
        let status = Status::deadline_exceeded("there is no answer");
        if reads { Self::NotTaken(status) } else { Self::Unknown(status) }
    }

    /// Whether the request certainly was not done, and may be later.
    pub(super) fn was_not_taken(&self) -> bool {
        matches!(self, Self::NotTaken(_))
    }

    /// Whether it may go better the next time.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::NotTaken(_) | Self::Unknown(_))
    }

    /// The error where no more is known.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::Closed => Error::Closed,
            Self::Full(status) => {
                Error::DiskFull { source: Arc::new(io::Error::other(status.message().to_owned())) }
            }
            Self::NotTaken(status) => Error::Unreachable { message: text(&status) },
            Self::Unknown(status) => Error::Unknown { message: text(&status) },
            Self::Refused(status) => Error::Refused { message: text(&status) },
            named => Error::Refused { message: format!("{named:?}") },
        }
    }
}

/// Whether there was no connection to send it on.
fn never_sent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// What is wrong, with what lies behind it.
fn text(status: &Status) -> String {
    let mut text = status.message().to_owned();
    if let Some(source) = std::error::Error::source(status) {
        text = format!("{text}: {}", base::error::chain(source));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_proposed_counts_as_not_taken() {
        for (code, text, not_taken) in [
            (Code::Unavailable, "etcdserver: no leader", true),
            (Code::FailedPrecondition, "etcdserver: not leader", true),
            (Code::ResourceExhausted, "etcdserver: too many requests", true),
            (Code::Unavailable, "etcdserver: rpc not supported for learner", true),
            (Code::Unavailable, "etcdserver: server stopped", false),
            (Code::Unavailable, "etcdserver: leader changed", false),
            (Code::Unavailable, "etcdserver: request timed out", false),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                false,
            ),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost", false),
            (Code::Unavailable, "etcdserver: unhealthy cluster", false),
            (Code::Unavailable, "transport is closing", false),
            (Code::Unknown, "raft proposal dropped", false),
            (Code::Cancelled, "", false),
        ] {
            let failure = Failure::from(Status::new(code, text));
            assert_eq!(failure.was_not_taken(), not_taken, "{text}");
            assert!(failure.may_pass(), "{text}");
            let error = failure.into_error();
            assert_eq!(matches!(error, Error::Unknown { .. }), !not_taken, "{text}: {error}");
        }
    }
}

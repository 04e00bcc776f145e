//! Why a request failed.

use std::time::Duration;

use model::Status;

use crate::transport::TransportError;

/// Why a request failed. The server's own words are in the [`Status`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object or resource.
    #[error("{0}")]
    NotFound(Status),
    /// An object of that name is there already.
    #[error("{0}")]
    AlreadyExists(Status),
    /// Somebody else was faster, a precondition does not hold, or another manager owns the field.
    #[error("{0}")]
    Conflict(Status),
    /// The revision is no longer kept: list anew.
    #[error("{0}")]
    Expired(Status),
    /// The object breaks rules of its kind.
    #[error("{0}")]
    Invalid(Status),
    /// The caller may not do this.
    #[error("{0}")]
    Forbidden(Status),
    /// The caller is not known.
    #[error("{0}")]
    Unauthorized(Status),
    /// The server asks to slow down, or cannot answer now.
    #[error("{0}")]
    Unavailable(Status),
    /// Any other failure that the server reports.
    #[error("{0}")]
    Api(Status),
    /// The server was not reached, or the connection broke.
    #[error("{request}")]
    Transport {
        /// The method and path.
        request: String,
        /// What failed.
        source: TransportError,
    },
    /// The server did not answer in time.
    #[error("{request}: no answer within {} s", limit.as_secs())]
    Timeout {
        /// The method and path.
        request: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The request could not be put into words.
    #[error("encode the body of {request}")]
    Encode {
        /// The method and path.
        request: String,
        /// What failed.
        source: serde_json::Error,
    },
    /// The answer could not be understood.
    #[error("decode the answer to {request}")]
    Decode {
        /// The method and path.
        request: String,
        /// What failed.
        source: serde_json::Error,
    },
    /// No namespace is given, or an empty one, for what lives in one. It would ask for something else.
    #[error("an empty namespace may not be set for a {kind}")]
    Namespace {
        /// The kind.
        kind: String,
    },
    /// A name that cannot stand in a path: it would ask for something else.
    #[error("invalid resource name {name:?}: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// The method and path do not make a request.
    #[error("make the request {request}")]
    Request {
        /// The method and path.
        request: String,
        /// What failed.
        source: http::Error,
    },
    /// What was done with the answers panicked.
    #[error(transparent)]
    Panic(#[from] base::panics::Panic),
}

impl Error {
    /// What the server's failure means to a caller.
    pub fn from_status(status: Status) -> Self {
        match (status.reason.as_str(), status.code) {
            ("AlreadyExists", _) => Self::AlreadyExists(status),
            ("Conflict", _) => Self::Conflict(status),
            ("Expired" | "Gone", _) => Self::Expired(status),
            ("Invalid", _) => Self::Invalid(status),
            ("NotFound", _) | ("", 404) => Self::NotFound(status),
            ("Forbidden", _) | ("", 403) => Self::Forbidden(status),
            ("Unauthorized", _) | ("", 401) => Self::Unauthorized(status),
            ("", 409) => Self::Conflict(status),
            ("", 410) => Self::Expired(status),
            ("", 422) => Self::Invalid(status),
            ("TooManyRequests" | "ServiceUnavailable" | "ServerTimeout" | "Timeout", _)
            | (_, 429 | 502 | 503 | 504) => Self::Unavailable(status),
            _ => Self::Api(status),
        }
    }

    /// The server's words, if the failure is the server's.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::NotFound(status)
            | Self::AlreadyExists(status)
            | Self::Conflict(status)
            | Self::Expired(status)
            | Self::Invalid(status)
            | Self::Forbidden(status)
            | Self::Unauthorized(status)
            | Self::Unavailable(status)
            | Self::Api(status) => Some(status),
            _ => None,
        }
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }

    /// Whether an object of that name is there already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::AlreadyExists(_))
    }

    /// Whether somebody else was faster.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict(_))
    }

    /// Whether the revision is no longer kept.
    pub fn is_expired(&self) -> bool {
        matches!(self, Self::Expired(_))
    }

    /// Whether the same request may succeed later without any change.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Transport { .. } | Self::Timeout { .. })
    }
}

/// Turns "there is no such object" into `None`.
pub trait OptionalExt<T> {
    /// `Ok(None)` for [`Error::NotFound`].
    fn optional(self) -> Result<Option<T>, Error>;
}

impl<T> OptionalExt<T> for Result<T, Error> {
    fn optional(self) -> Result<Option<T>, Error> {
        match self {
            Ok(value) => Ok(Some(value)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

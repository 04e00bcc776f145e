//! Failures of requests: a status code and the sentence that the client prints.

use http::StatusCode;

use crate::words;

/// What to do about a full disk.
const CURE: &str = "the engine's disk is full, free some of it (`docker system df` shows what takes the space, `docker system prune` removes what is not used)";

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// The sentence that goes into `{"message": …}`.
    pub(crate) message: String,
}

impl Fault {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// What the engine failed with; where the user can do something about it, with that.
    pub(crate) fn of(kind: engine::Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        let message = match kind {
            engine::Kind::NoSpace => format!("{message}: {CURE}"),
            _ => message,
        };
        Self::new(status(kind), message)
    }

    /// The same with what was being tried before it.
    pub(crate) fn while_trying(self, what: impl std::fmt::Display) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// The request makes no sense.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The thing or the page does not exist.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// The thing's state forbids it.
    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    /// Nobody may do this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// This daemon has no part that could do it.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The daemon's own fault.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// This daemon does not do it.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, message)
    }
}

/// The one function from the engine's kinds of failure to status codes.
fn status(kind: engine::Kind) -> StatusCode {
    match kind {
        engine::Kind::NotFound => StatusCode::NOT_FOUND,
        engine::Kind::Conflict => StatusCode::CONFLICT,
        engine::Kind::Invalid => StatusCode::BAD_REQUEST,
        engine::Kind::Denied => StatusCode::FORBIDDEN,
        engine::Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        engine::Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        engine::Kind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        engine::Kind::NotModified => StatusCode::NOT_MODIFIED,
        engine::Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        engine::Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<engine::Error> for Fault {
    fn from(error: engine::Error) -> Self {
        Self::of(error.kind(), words::message(&error))
    }
}

//! Why a definition could not be solved.

use std::sync::Arc;

use image::{FindError, Kind, LayerError, SnapshotError, WriteError};
use oci::Digest;

use super::session::SessionError;
use crate::files::FileError;

/// Why a definition could not be solved. Cheap to clone: whoever waits for an operation hears of the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SolveError {
    /// The definition is none.
    #[error("failed to load LLB: {0}")]
    Definition(#[from] Arc<llb::ReadError>),
    /// An operation failed.
    #[error("{source}")]
    Vertex {
        /// Its digest in the definition.
        digest: Digest,
        /// What it is called.
        name: String,
        /// Where it was written down, if the definition says so.
        location: Option<Arc<Location>>,
        /// Why.
        source: Arc<SolveError>,
    },
    /// What was written down is wrong, or what it asks for.
    #[error("{source}")]
    Located {
        /// Where, innermost first.
        locations: Vec<Location>,
        /// Why.
        source: Arc<SolveError>,
    },
    /// A process ended otherwise than it should.
    #[error("process {process:?} did not complete successfully: {}", how_it_ended(*code, *out_of_memory))]
    Exit {
        /// Its arguments.
        process: String,
        /// With what it ended.
        code: i32,
        /// The machine's memory, or the one that it had, was not enough.
        out_of_memory: bool,
    },
    /// Something is asked for that is not done.
    #[error("{0}")]
    Unsupported(String),
    /// A front end is asked for something that it does not answer.
    #[error("unsupported request {0}")]
    UnsupportedRequest(String),
    /// A front end is to be able to do something that it is not.
    #[error("unsupported frontend capability {0}")]
    UnsupportedCapability(String),
    /// Something is asked for that the job may not have.
    #[error("{0} is not allowed")]
    NotEntitled(&'static str),
    /// A policy does not let a source be used.
    #[error("{0}")]
    SourceDenied(String),
    /// A policy puts something in the place of an image that is none.
    #[error(transparent)]
    Replaced(#[from] ::dockerfile::Replaced),
    /// It cannot be done as it is said.
    #[error("{0}")]
    Invalid(String),
    /// A file, image or commit is not there.
    #[error("{0}")]
    NotFound(String),
    /// The client did not give what it was asked for.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Nobody waits for it any more.
    #[error("context canceled")]
    Cancelled,
    /// The engine failed.
    #[error("{}", base::error::chain(&**.0))]
    Engine(Arc<engine::Error>),
    /// Something of this machine failed.
    #[error("{0}")]
    Failed(String),
    /// The disk is full.
    #[error("{0}")]
    NoSpace(String),
}

/// Where an operation was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// The text.
    pub info: llb::pb::SourceInfo,
    /// The parts of it.
    pub ranges: Vec<llb::pb::Range>,
}

fn how_it_ended(code: i32, out_of_memory: bool) -> String {
    match out_of_memory {
        true => format!("exit code: {code}: cannot allocate memory"),
        false => format!("exit code: {code}"),
    }
}

impl SolveError {
    /// What sort of failure this is.
    pub fn kind(&self) -> engine::Kind {
        match self {
            Self::Vertex { source, .. } | Self::Located { source, .. } => source.kind(),
            Self::Engine(error) => error.kind(),
            Self::Unsupported(_)
            | Self::UnsupportedRequest(_)
            | Self::UnsupportedCapability(_)
            | Self::Replaced(_) => engine::Kind::Unsupported,
            Self::NotEntitled(_) | Self::SourceDenied(_) => engine::Kind::Denied,
            Self::NotFound(_) => engine::Kind::NotFound,
            Self::Session(_) | Self::Cancelled => engine::Kind::Unavailable,
            Self::NoSpace(_) => engine::Kind::NoSpace,
            Self::Failed(_) => engine::Kind::Internal,
            Self::Definition(_) | Self::Exit { .. } | Self::Invalid(_) => engine::Kind::Invalid,
        }
    }

    /// The failure without the vertex that it is of, and without where it was written down.
    pub fn cause(&self) -> &SolveError {
        match self {
            Self::Vertex { source, .. } | Self::Located { source, .. } => source.cause(),
            other => other,
        }
    }

    /// The failure of a source, with what was done with it.
    pub(crate) fn of(self, what: &str) -> Self {
        match self {
            Self::SourceDenied(problem) => Self::SourceDenied(format!("error {what}: {problem}")),
            Self::Invalid(problem) => Self::Invalid(format!("error {what}: {problem}")),
            other => other,
        }
    }

    /// A failure of this machine's files.
    pub(crate) fn io(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Self {
        move |source| {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                _ => Kind::of_io(&source),
            };
            Self::of_kind(kind, format!("{what}: {source}"))
        }
    }

    fn of_kind(kind: Kind, problem: String) -> Self {
        match kind {
            Kind::NotFound => Self::NotFound(problem),
            Kind::NoSpace => Self::NoSpace(problem),
            Kind::Invalid => Self::Invalid(problem),
            _ => Self::Failed(problem),
        }
    }
}

macro_rules! from_store {
    ($($error:ty),*) => {
        $(impl From<$error> for SolveError {
            fn from(error: $error) -> Self {
                Self::of_kind(error.kind(), base::error::chain(&error).to_string())
            }
        })*
    };
}

from_store!(
    FindError,
    WriteError,
    SnapshotError,
    LayerError,
    image::PackError,
    image::PullError,
    image::PushError
);

impl From<engine::Error> for SolveError {
    fn from(error: engine::Error) -> Self {
        Self::Engine(Arc::new(error))
    }
}

impl From<llb::ReadError> for SolveError {
    fn from(error: llb::ReadError) -> Self {
        Self::Definition(Arc::new(error))
    }
}

impl From<FileError> for SolveError {
    fn from(error: FileError) -> Self {
        let problem = base::error::chain(&error).to_string();
        match &error {
            _ if error.is_full_disk() => Self::NoSpace(problem),
            FileError::Missing(path) | FileError::NoFile(path) => {
                Self::NotFound(format!("\"/{}\": not found", path.trim_start_matches('/')))
            }
            FileError::Pattern(_) => Self::Invalid(problem),
            FileError::Read { .. } | FileError::Write { .. } => Self::Failed(problem),
        }
    }
}

//! Why a build fails.

use std::sync::Arc;

use dockerfile::classic::ParseError;
use image::{FindError, Kind, LayerError, SnapshotError, WriteError};

use crate::changes::ChangeError;
use crate::files::FileError;
use crate::git::GitError;
use crate::solve::SolveError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Layers cannot be made one.
    #[error("squash is not supported: layers are shared between images here, so it would only cost space")]
    Squash,
    /// There is no Dockerfile where it should be.
    #[error("Cannot locate specified Dockerfile: {0}")]
    NoDockerfile(String),
    /// There is nothing in the Dockerfile.
    #[error("the Dockerfile ({0}) cannot be empty")]
    EmptyDockerfile(String),
    /// The Dockerfile is none.
    #[error("failed to parse {name}")]
    Unparsed {
        /// Its path in the context.
        name: String,
        /// Why.
        source: ParseError,
    },
    /// The Dockerfile is wrong.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// What is to be built from cannot be fetched.
    #[error("{0}")]
    Remote(String),
    /// What is to be built from cannot be fetched from a repository.
    #[error("{tried}")]
    Git {
        /// What was being done.
        tried: String,
        /// Why not.
        source: GitError,
    },
    /// The build context cannot be unpacked.
    #[error("read the build context")]
    Context(#[source] LayerError),
    /// Files could not be copied as the disk is full.
    #[error("{keyword} failed: {problem}")]
    NoSpace {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// Where, with the causes.
        problem: String,
    },
    /// The `.dockerignore` is wrong.
    #[error("error reading .dockerignore: {0}")]
    Ignore(String),
    /// An instruction cannot be done.
    #[error("{0}")]
    Step(String),
    /// Files could not be copied.
    #[error("{keyword} failed: {problem}")]
    Copy {
        /// `COPY` or `ADD`.
        keyword: &'static str,
        /// What is wrong, with its causes.
        problem: String,
    },
    /// An instruction of `--change` is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The engine failed at an operation that others may have asked for too.
    #[error("{}", base::error::chain(&**.0))]
    Operation(Arc<engine::Error>),
    /// The engine failed, or a command in the image did.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

impl BuildError {
    /// A failure of COPY or ADD.
    pub(crate) fn copy_operation(keyword: &'static str, error: &SolveError) -> Self {
        let problem = error.cause().to_string();
        match error.kind() {
            engine::Kind::NoSpace => BuildError::NoSpace { keyword, problem },
            _ => BuildError::Copy { keyword, problem },
        }
    }

    pub(crate) fn copy(keyword: &'static str, error: FileError) -> Self {
        let problem = base::error::chain(&error).to_string();
        match error.is_full_disk() {
            true => BuildError::NoSpace { keyword, problem },
            false => BuildError::Copy { keyword, problem },
        }
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> engine::Kind {
        match self {
            BuildError::Engine(error) => error.kind(),
            BuildError::Operation(error) => error.kind(),
            BuildError::NoSpace { .. } => engine::Kind::NoSpace,
            BuildError::Git { source: GitError::Full(_), .. } => engine::Kind::NoSpace,
            BuildError::Remote(_) | BuildError::Git { .. } => engine::Kind::Unavailable,
            BuildError::Context(error) if error.kind() == Kind::NoSpace => engine::Kind::NoSpace,
            _ => engine::Kind::Invalid,
        }
    }
}

impl From<SolveError> for BuildError {
    fn from(error: SolveError) -> Self {
        match error.cause() {
            SolveError::Engine(error) => BuildError::Operation(Arc::clone(error)),
            cause => BuildError::Engine(engine::Error::new(cause.kind(), cause.to_string())),
        }
    }
}

/// Folds a failure of the image store into the engine's few kinds.
fn engine_error(kind: Kind, source: impl std::error::Error) -> BuildError {
    let kind = match kind {
        Kind::NotFound => engine::Kind::NotFound,
        Kind::Conflict => engine::Kind::Conflict,
        Kind::Invalid => engine::Kind::Invalid,
        Kind::Denied => engine::Kind::Denied,
        Kind::Unauthorized => engine::Kind::Unauthorized,
        Kind::Unavailable => engine::Kind::Unavailable,
        Kind::NoSpace => engine::Kind::NoSpace,
        Kind::Internal => engine::Kind::Internal,
    };
    BuildError::Engine(engine::Error::new(kind, base::error::chain(&source).to_string()))
}

impl From<FindError> for BuildError {
    fn from(error: FindError) -> Self {
        engine_error(error.kind(), error)
    }
}

impl From<WriteError> for BuildError {
    fn from(error: WriteError) -> Self {
        engine_error(error.kind(), error)
    }
}

impl From<SnapshotError> for BuildError {
    fn from(error: SnapshotError) -> Self {
        engine_error(error.kind(), error)
    }
}

impl From<LayerError> for BuildError {
    fn from(error: LayerError) -> Self {
        engine_error(error.kind(), error)
    }
}

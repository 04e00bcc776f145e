//! Why a build fails.

use crate::changes::ChangeError;

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Layers cannot be made one.
    #[error("squash is not supported: layers are shared between images here, so it would only cost space")]
    Squash,
    /// An instruction of `--change` or of the Dockerfile is wrong.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] engine::Error),
}

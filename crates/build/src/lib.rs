//! Dockerfile to steps to cached layers to image.
//!
//! [`build`] is the whole: it reads a build context, runs a Dockerfile's steps, each on the image
//! of the one before, and tells what it does as it goes, in the words of Docker's classic builder.
#![forbid(unsafe_code)]

mod changes;
mod error;
mod request;

use std::pin::Pin;

use engine::Engine;
use futures::Stream;

pub use changes::{ChangeError, apply_changes};
pub use error::BuildError;
pub use request::{BuildEvent, BuildOptions, BuildRequest};

/// What a build tells; ends with [`BuildEvent::Built`] or an error. Dropping it ends the build and
/// takes away what the build had under way.
pub type BuildStream = Pin<Box<dyn Stream<Item = Result<BuildEvent, BuildError>> + Send>>;

/// Builds an image. Must be called inside a tokio runtime.
pub fn build(engine: Engine, request: BuildRequest) -> BuildStream {
    let _ = (engine, request);
    todo!()
}

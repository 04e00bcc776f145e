//! Dockerfile to steps to cached layers to image, in two ways: by definitions of operations ([`solve`]), as
//! BuildKit's clients ask for builds, and step by step.
//!
//! [`build`] is the whole of the latter: it reads a build context, goes through a Dockerfile's steps, each on the
//! image of the one before, and tells what it does as it goes, in the words of Docker's classic builder. What a
//! step writes is an operation of the solver's like any other, and cached with all others.
#![forbid(unsafe_code)]

mod address;
mod args;
mod builder;
mod changes;
mod configure;
mod context;
mod error;
mod files;
mod git;
mod owner;
mod remote;
mod request;
pub mod solve;

use std::pin::Pin;

use dockerfile::ignore;
use futures::{Stream, StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use solve::Solver;

pub use changes::{ChangeError, apply_changes};
pub use dockerfile::REFERENCE as DOCKERFILE;
pub use dockerfile::classic::ParseError;
pub use error::BuildError;
pub use git::GitError;
pub use request::{BuildEvent, BuildOptions, BuildRequest};

/// What a build tells; ends with [`BuildEvent::Built`] and the last words, or an error. Dropping it
/// ends the build and takes away what the build had under way.
pub type BuildStream = Pin<Box<dyn Stream<Item = Result<BuildEvent, BuildError>> + Send>>;

/// Texts that may wait for the listener.
const EVENTS_AHEAD: usize = 64;

/// Builds an image. Must be called inside a tokio runtime.
pub fn build(solver: &Solver, request: BuildRequest) -> BuildStream {
    let solver = solver.clone();
    let (events, told) = mpsc::channel(EVENTS_AHEAD);
    let task = tokio::spawn(async move {
        let building = context::build(solver, request, events.clone());
        let built = base::panics::catch_async(building).await.unwrap_or_else(|panic| {
            tracing::error!(%panic, "a build panicked");
            Err(BuildError::Step(
                "the build met a fault of the daemon (a panic); its log tells where".to_owned(),
            ))
        });
        if let Err(error) = built {
            // Without a listener nobody minds.
            let _ = events.send(Err(error)).await;
        }
    });
    let task = AbortOnDropHandle::new(task);
    let told = stream::unfold((told, task), |(mut told, task)| async move {
        told.recv().await.map(|event| (event, (told, task)))
    });
    told.boxed()
}

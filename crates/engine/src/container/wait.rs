//! Waiting for a container's end.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::stream::ExitStatus;

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run: at once if it does not.
    #[default]
    NotRunning,
    /// That it ends the next time, whether it runs or not.
    NextExit,
    /// That it is gone.
    Removed,
}

/// A wait that has begun: nothing that happens after its making is missed.
pub struct Waiting(pub(crate) Pin<Box<dyn Future<Output = Result<ExitStatus>> + Send>>);

impl Future for Waiting {
    type Output = Result<ExitStatus>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl Engine {
    /// Begins to wait; the future that it returns gives how the container ended.
    pub fn container_wait(&self, id: &ContainerId, condition: WaitCondition) -> Result<Waiting> {
        let _ = (id, condition);
        todo!()
    }
}

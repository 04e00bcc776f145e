//! Waiting for a container's end.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::view::Status;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::id::ContainerId;
use crate::registry::Pulse;
use crate::stream::ExitStatus;

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run: at once if it does not. A restart that follows does not hide the end.
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
        let cell = self.inner.registry.get(id)?;
        let mut pulse = cell.pulse();
        let before = pulse.borrow().exits;
        let is_over = move |pulse: &Pulse| match condition {
            WaitCondition::NotRunning => {
                let is_on = pulse.status.is_active() || pulse.status == Status::Restarting;
                pulse.removed || pulse.exits > before || !is_on
            }
            WaitCondition::NextExit => pulse.removed || pulse.exits > before,
            WaitCondition::Removed => pulse.removed,
        };
        // The cell goes along: without it nobody would tell.
        Ok(Waiting(Box::pin(async move {
            let seen = pulse.wait_for(is_over).await.map(|pulse| pulse.last_exit.clone());
            drop(cell);
            seen.map_err(|_| Error::unavailable("the engine is shutting down"))
        })))
    }
}

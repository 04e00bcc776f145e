//! Tasks of the engine's own: what goes on although nobody waits for it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::Engine;
use crate::error::{Error, Result};

/// How long what panicked rests before it is tried again.
pub(crate) const AFTER_PANIC: Duration = Duration::from_millis(500);

impl Engine {
    /// Runs `operation` to its end whether or not the caller waits for it.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.inner.tasks.spawn_on(operation, &self.inner.runtime).await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => Err(Error::unavailable("the engine is shutting down").with_source(error)),
            },
        }
    }

    /// Runs `task` as one of the engine's own: closing waits for it. A panic ends it, and is told.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = async {
            if let Err(panic) = base::panics::catch_async(task).await {
                tracing::error!(%panic, "something that the engine did beside its requests panicked");
            }
        };
        self.inner.tasks.spawn_on(task, &self.inner.runtime);
    }

    /// As [`Engine::spawn`], for what somebody must go on doing: where it panics it is begun anew.
    pub(crate) fn spawn_lasting<F>(&self, task: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lasting = lasting(task, self.inner.closing.clone());
        self.inner.tasks.spawn_on(lasting, &self.inner.runtime);
    }

    /// As [`Engine::spawn_lasting`], for what listens to a shim: whatever else is being done when the engine closes
    /// may wait for the end of a container, which is heard of here.
    pub(crate) fn spawn_listening<F>(&self, task: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let lasting = lasting(task, self.inner.deaf.clone());
        self.inner.listeners.spawn_on(lasting, &self.inner.runtime);
    }
}

/// Does something until it has come to its end; begins anew after a panic, unless `end` has come.
async fn lasting<F>(mut task: impl FnMut() -> F, end: CancellationToken)
where
    F: Future<Output = ()>,
{
    while let Err(panic) = base::panics::catch_async(task()).await {
        tracing::error!(%panic, "something that the engine always does panicked, and is begun anew");
        tokio::select! {
            () = tokio::time::sleep(AFTER_PANIC) => {}
            () = end.cancelled() => return,
        }
    }
}

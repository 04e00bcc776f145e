//! Listening to a shim: what happens to its containers, and to itself.
//!
//! That a connection ends does not mean that the shim has: it drops listeners that do not keep up,
//! and the engine may have run out of descriptors. Whether it lives is a matter of its process. One
//! that lives is asked again until it answers, and its containers are what they were meanwhile.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Engine;
use crate::error::Result;
use crate::registry::AnySandbox;
use crate::shim::{self, Connection, Found, Shim};

/// How long is waited before a shim is asked again: from, to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

impl Engine {
    /// Listens to a shim until it or the engine ends.
    pub(crate) async fn listen(&self, sandbox: AnySandbox, shim: Arc<Shim>) -> Result<()> {
        let connection = shim.subscribe().await?;
        self.listen_on(sandbox, shim, Some(connection));
        Ok(())
    }

    /// Waits for a shim that lives and does not answer, and listens to it from then on.
    pub(crate) fn listen_later(&self, sandbox: AnySandbox, shim: Arc<Shim>) {
        self.listen_on(sandbox, shim, None);
    }

    fn listen_on(&self, sandbox: AnySandbox, shim: Arc<Shim>, mut connection: Option<Connection>) {
        let engine = self.clone();
        self.spawn_listening(move || {
            // Begun anew it asks for what it may have missed.
            let (engine, sandbox, connection) = (engine.clone(), sandbox.clone(), connection.take());
            let shim = sandbox.shim().unwrap_or_else(|| Arc::clone(&shim));
            async move {
                tokio::select! {
                    () = engine.follow(&sandbox, shim, connection) => {}
                    () = engine.inner.deaf.cancelled() => {}
                }
            }
        });
    }

    async fn follow(&self, sandbox: &AnySandbox, mut shim: Arc<Shim>, mut connection: Option<Connection>) {
        let mut pause = PAUSES.0;
        loop {
            if let Some(mut connection) = connection.take() {
                while let Some(event) = shim::next_event(&mut connection).await {
                    // One event that panics must not be the last that is heard of this sandbox.
                    if let Err(panic) = base::panics::catch(|| self.on_shim_event(event)) {
                        tracing::error!(sandbox = %sandbox.id, %panic, "an event of a shim panicked");
                    }
                }
                pause = PAUSES.0;
            }
            // Where its process is not known, only its socket can tell.
            let has_process = shim.handle.pid != 0;
            if has_process && tokio::time::timeout(pause, shim.ended()).await.is_ok() {
                return self.on_shim_gone(sandbox, &shim).await;
            }
            if !has_process {
                tokio::time::sleep(pause).await;
            }
            if !sandbox.shim().is_some_and(|current| Arc::ptr_eq(&current, &shim)) {
                return;
            }
            match Shim::find(&shim.handle.socket).await {
                Ok(Found::Shim(found, _)) => {
                    shim = Arc::new(found);
                    sandbox.live.write().shim = Some(Arc::clone(&shim));
                    match self.hear_again(sandbox, &shim).await {
                        Ok(again) => {
                            tracing::info!(sandbox = %sandbox.id, "a shim answers again");
                            connection = Some(again);
                        }
                        Err(error) => {
                            tracing::warn!(sandbox = %sandbox.id, error = %base::error::chain(&error), "listen to a shim");
                        }
                    }
                }
                Ok(Found::Nothing) if !has_process => return self.on_shim_gone(sandbox, &shim).await,
                Ok(Found::Nothing | Found::Silent(_)) => {}
                Err(error) => {
                    tracing::warn!(sandbox = %sandbox.id, error = %base::error::chain(&error), "ask a shim again");
                }
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Listens to a shim again and learns what happened meanwhile.
    async fn hear_again(&self, sandbox: &AnySandbox, shim: &Arc<Shim>) -> Result<Connection> {
        // First, so that nothing happens between the two unheard.
        let connection = shim.subscribe().await?;
        for cell in self.inner.registry.of_sandbox(&sandbox.id) {
            let operation = cell.operation.lock().await;
            if !cell.status().is_active() {
                continue;
            }
            let state = shim.state().await?;
            let held = state.containers.iter().find(|held| held.id == cell.id.as_str());
            drop(operation);
            match held.map(|held| held.exit.clone()) {
                Some(Some(exit)) => self.on_exit(&cell, &exit, None).await,
                Some(None) => {}
                None => self.on_lost(&cell, "the container was lost while its shim did not answer").await,
            }
        }
        Ok(connection)
    }
}

//! Stopping a container.

use std::sync::Arc;
use std::time::Duration;

use super::life::Input;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::id::ContainerId;
use crate::registry::ContainerCell;
use crate::signal;

/// How long a container may take to stop where nobody says.
const GRACE: i64 = 10;
/// How long the kernel may take to end a process that was killed.
const DEATH: Duration = Duration::from_secs(30);
/// How often a cgroup that was killed is looked at again.
const LOOK: Duration = Duration::from_millis(200);

impl Engine {
    /// Asks a container to stop (with `signal`, or its own stop signal) and kills it after `grace`
    /// (its own stop timeout where `None`). Returns when it has ended; [`crate::Kind::NotModified`]
    /// where it does not run.
    pub async fn container_stop(
        &self,
        id: &ContainerId,
        signal: Option<&str>,
        grace: Option<Duration>,
    ) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        let (signal, grace) = how(&cell, signal, grace)?;
        let engine = self.clone();
        self.detached(async move {
            engine.halt(&cell, signal, grace, false).await?;
            engine.emit(&cell, "stop", &[]);
            Ok(())
        })
        .await
    }

    /// Makes a container end, to be started again if it `returns`. The operation lock is not held while it
    /// takes its time.
    pub(crate) async fn halt(
        &self,
        cell: &Arc<ContainerCell>,
        signal: i32,
        grace: Option<Duration>,
        returns: bool,
    ) -> Result<()> {
        let mut pulse = cell.pulse();
        self.awake(cell, signal).await;
        {
            let (_operation, interrupted) = cell.lock_to_end().await;
            match cell.status() {
                Status::Created | Status::Exited if interrupted => return Ok(()),
                Status::Running | Status::Paused => {}
                Status::Restarting => {
                    let effects = self.step_of_fact(cell, &Input::Halted { returns });
                    cell.tell(|pulse| pulse.exits += 1);
                    self.perform(cell, effects);
                    return Ok(());
                }
                _ => return Err(Error::not_modified(format!("container {} is not running", cell.id))),
            }
            let effects = self.step_of_fact(cell, &Input::Halted { returns });
            self.perform(cell, effects);
            pulse.mark_unchanged();
            if cell.status() == Status::Paused {
                // A frozen process hears no signal. Where the shim does not answer, the end is what counts.
                match self.thaw(cell).await {
                    Err(error) if error.kind() != Kind::Unavailable => return Err(error),
                    _ => {}
                }
            }
            if grace != Some(Duration::ZERO) {
                // One whose shim does not answer is killed when its time is over.
                self.send(cell, signal).await?;
            }
        }
        if grace != Some(Duration::ZERO) {
            let ended = pulse.wait_for(|pulse| !pulse.status.is_active());
            let too_long = async {
                match grace {
                    Some(grace) => tokio::time::sleep(grace).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = ended => return Ok(()),
                () = too_long => {
                    tracing::info!(container = %cell.id, "container did not stop in time and is killed");
                }
                () = self.inner.closing.cancelled() => {
                    return Err(Error::unavailable("the engine is shutting down"));
                }
            }
        }
        self.end(cell).await
    }

    /// Kills a container and waits until it has ended.
    pub(crate) async fn end(&self, cell: &Arc<ContainerCell>) -> Result<()> {
        let mut pulse = cell.pulse();
        if cell.status().is_active() && !self.send(cell, signal::KILL).await? {
            self.end_unheard(cell).await?;
        }
        let ended = pulse.wait_for(|pulse| !pulse.status.is_active());
        match tokio::time::timeout(DEATH, ended).await {
            Ok(_) => Ok(()),
            Err(_) => Err(did_not_end(cell)),
        }
    }

    /// Sends a signal to process 1; one that has just ended is no failure. `false` where its shim does
    /// not answer.
    pub(crate) async fn send(&self, cell: &ContainerCell, signal: i32) -> Result<bool> {
        let Some(shim) = cell.sandbox.shim() else { return Ok(true) };
        let mut is_heard = true;
        match shim.kill(cell.id.as_str(), None, signal).await {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => {}
            // The shim is gone, and its end is being dealt with; or it lives and says nothing.
            Err(error) if error.kind() == Kind::Unavailable => is_heard = !shim.is_silent(),
            Err(error) => return Err(error),
        }
        self.emit(cell, "kill", &[("signal", signal.to_string())]);
        Ok(is_heard)
    }

    /// Ends a container whose shim does not answer: by its cgroup, from outside.
    async fn end_unheard(&self, cell: &Arc<ContainerCell>) -> Result<()> {
        tracing::warn!(container = %cell.id, "the shim of a container does not answer: killing the container from outside");
        let begun = self.inner.clock.elapsed();
        while !self.kill_cgroup(cell).await {
            if self.inner.clock.elapsed().saturating_sub(begun) >= DEATH {
                return Err(did_not_end(cell));
            }
            tokio::time::sleep(LOOK).await;
        }
        let (status, _) = self.lost_exit(cell);
        self.on_exit(cell, &status, None).await;
        Ok(())
    }
}

fn did_not_end(cell: &ContainerCell) -> Error {
    Error::internal(format!("tried to kill container, but did not receive an exit event: {}", cell.id))
}

/// The signal and the grace of a stop; `None` waits for ever.
pub(super) fn how(
    cell: &ContainerCell,
    signal: Option<&str>,
    grace: Option<Duration>,
) -> Result<(i32, Option<Duration>)> {
    let record = cell.record();
    let own = Some(record.resolved.stop_signal.as_str()).filter(|signal| !signal.is_empty());
    let signal = match signal.filter(|signal| !signal.is_empty()).or(own) {
        Some(text) => signal::parse(text)?,
        None => signal::TERM,
    };
    let grace = match grace {
        // Nobody waits for centuries: it means for ever.
        Some(grace) => Some(grace).filter(|grace| grace.as_secs() < u64::from(u32::MAX)),
        None => u64::try_from(record.spec.stop_timeout.unwrap_or(GRACE)).ok().map(Duration::from_secs),
    };
    Ok((signal, grace))
}

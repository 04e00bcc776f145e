//! Starting a container.

mod bundle;
mod namespaces;
mod run;

use std::sync::Arc;

use self::bundle::open_rest;
use self::namespaces::shared_processes;
use super::life::Input;
use super::spec::NamespaceMode;
use super::view::Status;
use crate::engine::Engine;
use crate::error::{Error, NOT_STARTED, Operation, Result};
use crate::id::ContainerId;
use crate::registry::ContainerCell;
use crate::work::{blocking, foreign};

impl Engine {
    /// Starts a container. [`crate::Kind::NotModified`] where it runs already; a program that
    /// cannot be started gives an error with its exit code (126, 127, 128).
    pub async fn container_start(&self, id: &ContainerId) -> Result<()> {
        let cell = self.inner.registry.get(id)?;
        // The operation goes on although the caller may go away: half a start helps nobody.
        let engine = self.clone();
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            match cell.status() {
                Status::Running => {
                    return Err(Error::not_modified(format!("container {} is already running", cell.id)));
                }
                Status::Paused | Status::Removing | Status::Dead => return Err(cell.refuse(Operation::Start)),
                Status::Created | Status::Exited | Status::Restarting => {}
            }
            engine.start_locked(&cell, false).await
        })
        .await
    }

    /// Starts a container whose operation lock is held.
    pub(crate) async fn start_locked(&self, cell: &Arc<ContainerCell>, by_policy: bool) -> Result<()> {
        let begun = async {
            let pid = self.try_start(cell).await?;
            cell.change(|record| {
                record.boot.clone_from(&self.inner.boot);
                record.health = None;
            });
            let effects = self.step(cell, &Input::Started { pid, at: self.inner.clock.now(), by_policy })?;
            if !by_policy {
                self.flush_life(cell).await?;
            }
            Ok(effects)
        };
        let started = base::panics::catch_async(begun).await;
        cell.end_start();
        let started = started.unwrap_or_else(|panic| {
            tracing::error!(container = %cell.id, %panic, "the start of a container panicked");
            Err(Error::internal("the start met a fault of the daemon (a panic); its log tells where"))
        });
        match started {
            Ok(effects) => {
                cell.tell(|_| {});
                self.tell_arrival(cell, &self.belongings(cell));
                self.perform(cell, effects);
                self.refresh_linked_to(cell);
                self.watch_health(cell);
                Ok(())
            }
            // What is not written down must not run: nobody would find it again.
            Err(error) => Err(self.start_failed(cell, error, by_policy).await),
        }
    }

    /// Takes back what a failed start left; gives the error back.
    async fn start_failed(&self, cell: &Arc<ContainerCell>, error: Error, by_policy: bool) -> Error {
        self.take_down(cell).await;
        let code = error.exit_code().unwrap_or(NOT_STARTED);
        let message = error.full_message();
        // Who attached beforehand sees the streams end.
        cell.waiting.lock().clear();
        let exit = crate::stream::ExitStatus { code, error: Some(message.clone()) };
        let (fact, at) = (error.fact().cloned(), self.inner.clock.now());
        let input = Input::StartFailed { code, message, fact, at, by_policy };
        let effects = self.step_of_fact(cell, &input);
        cell.tell(|pulse| {
            pulse.exits += 1;
            pulse.last_exit = exit;
        });
        self.perform(cell, effects);
        error
    }

    async fn try_start(&self, cell: &Arc<ContainerCell>) -> Result<u32> {
        let record = cell.record();
        let mut joined = self.joined(cell).await?;
        // A reaper is made with the sandbox, and the container is made to live with it.
        let with_reaper = record.spec.init && cell.sandbox.is_of_one();
        let early = if with_reaper { Some(self.bring_up(cell).await?) } else { None };
        if let Some(shim) = &early {
            joined.sandbox_pid = shared_processes(shim)?;
        }
        let places = super::create::places(&record.spec);
        let (engine, of) = (self.clone(), Arc::clone(cell));
        let prepare = move || engine.write_bundle(&of, joined);
        let prepared = async {
            if places.is_empty() { blocking(prepare).await } else { foreign(places, prepare).await }
        };
        // The sandbox comes up while the container's configuration is made.
        let (shim, prepared) = if let Some(shim) = early {
            (Ok(shim), prepared.await)
        } else if !cell.sandbox.is_of_one() {
            (self.sandbox_shim(cell), prepared.await)
        } else {
            tokio::join!(self.bring_up(cell), prepared)
        };
        let shim = shim?;
        let (document, descriptors) = prepared?;
        if record.spec.namespaces.ipc == NamespaceMode::Shareable {
            let size = record.spec.shm_size.unwrap_or(runtime::defaults::SHM_SIZE);
            self.make_shared_memory(&cell.sandbox.id, size).await?;
        }
        // Only now is all of it there: the sandbox's files are written while it comes up.
        let bundle = self.inner.places.bundle(&cell.id);
        let opened = bundle.clone();
        let descriptors = blocking(move || open_rest(&document, &opened, descriptors)).await?;
        self.run_in(cell, &shim, bundle, descriptors).await
    }
}

//! The shell around [`crate::container::life`]: stepping a container and performing what follows.

use std::sync::Arc;
use std::time::Duration;

use runtime::shim::protocol;

use crate::container::life::{Effect, Input, Life};
use crate::container::{RemoveOptions, Status};
use crate::engine::Engine;
use crate::error::Result;
use crate::registry::ContainerCell;
use crate::stream::ExitStatus;
use crate::work::AFTER_PANIC;

/// How often the end of a container is noted that cannot be for a fault of this program.
const EXIT_TRIES: usize = 10;

impl Engine {
    /// Takes one step of a container's life: the new state is written down before anything that
    /// follows happens. The caller holds the container's operation lock.
    pub(crate) fn step(&self, cell: &Arc<ContainerCell>, input: &Input) -> Result<Vec<Effect>> {
        let (saved, effects) = self.step_and_save(cell, input);
        saved.map(|()| effects)
    }

    /// Takes a step for something that has happened already, or that must be possible on a full disk:
    /// a container may neither look alive for ever nor refuse to be stopped. What is on disk is put
    /// right by the shim's own record when the engine is opened next.
    pub(crate) fn step_of_fact(&self, cell: &Arc<ContainerCell>, input: &Input) -> Vec<Effect> {
        let (saved, effects) = self.step_and_save(cell, input);
        if let Err(error) = saved {
            tracing::error!(container = %cell.id, error = %base::error::chain(&error), "write down what became of a container");
        }
        effects
    }

    fn step_and_save(&self, cell: &Arc<ContainerCell>, input: &Input) -> (Result<()>, Vec<Effect>) {
        let mut effects = Vec::new();
        let record = cell.change(|record| {
            (record.life, effects) = record.step(input);
        });
        (self.save_life(&record), effects)
    }

    /// Performs what a step asked for, each by itself: one that panics takes no other along.
    pub(crate) fn perform(&self, cell: &Arc<ContainerCell>, effects: Vec<Effect>) {
        for effect in effects {
            if let Err(panic) = base::panics::catch(|| self.perform_one(cell, &effect)) {
                tracing::error!(container = %cell.id, ?effect, %panic, "what follows from a change of a container panicked");
            }
        }
    }

    fn perform_one(&self, cell: &Arc<ContainerCell>, effect: &Effect) {
        match effect {
            Effect::Emit(action) => {
                let life = &cell.record().life;
                let more = match *action {
                    "die" => vec![
                        ("exitCode", life.exit_code.to_string()),
                        ("execDuration", run_seconds(life).to_string()),
                    ],
                    _ => Vec::new(),
                };
                self.emit(cell, *action, &more);
            }
            Effect::RestartAfter(delay) => self.restart_later(Arc::clone(cell), *delay),
            Effect::Remove => self.remove_later(Arc::clone(cell)),
        }
    }

    /// A container's program has ended: writes down how, takes down what served it, and tells.
    ///
    /// Nobody else would say so, and all who wait for its end would wait for ever: what panics on the
    /// way is told, and tried again or passed over.
    pub(crate) async fn on_exit(
        &self,
        cell: &Arc<ContainerCell>,
        status: &protocol::ExitStatus,
        error: Option<String>,
    ) {
        for _ in 0..EXIT_TRIES {
            let Err(panic) = base::panics::catch_async(self.note_exit(cell, status, error.clone())).await
            else {
                return;
            };
            tracing::error!(container = %cell.id, %panic, "noting the end of a container panicked");
            tokio::time::sleep(AFTER_PANIC).await;
        }
    }

    async fn note_exit(
        &self,
        cell: &Arc<ContainerCell>,
        status: &protocol::ExitStatus,
        error: Option<String>,
    ) {
        let _operation = cell.operation.lock().await;
        if !cell.status().is_active() {
            return;
        }
        cell.health.lock().take();
        let input = Input::Exited {
            code: status.code,
            oom_killed: status.oom_killed,
            error: error.clone(),
            at: status.at,
        };
        let effects = self.step_of_fact(cell, &input);
        // From here on it is known to have ended, and is told to have.
        let belongings = self.belongings(cell);
        let taken_down = async {
            self.take_down(cell).await;
            self.forget_execs(cell);
        };
        if let Err(panic) = base::panics::catch_async(taken_down).await {
            tracing::error!(container = %cell.id, %panic, "taking down what served a container panicked");
        }
        tracing::debug!(container = %cell.id, code = status.code, "container ended");
        let exit = ExitStatus { code: status.code, error };
        cell.tell(|pulse| {
            pulse.exits += 1;
            pulse.last_exit = exit;
        });
        self.tell_departure(cell, &belongings);
        self.perform(cell, effects);
    }

    /// Starts a container after a while, unless its state has changed by then.
    fn restart_later(&self, cell: Arc<ContainerCell>, delay: Duration) {
        let engine = self.clone();
        self.spawn_lasting(move || {
            let (engine, cell) = (engine.clone(), Arc::clone(&cell));
            async move {
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = engine.inner.closing.cancelled() => return,
                    () = engine.inner.going_down.cancelled() => return,
                }
                engine.await_linked(&cell).await;
                let operation = cell.operation.lock().await;
                let ends = engine.inner.closing.is_cancelled() || engine.inner.going_down.is_cancelled();
                if cell.status() != Status::Restarting || ends {
                    return;
                }
                if let Err(error) = engine.start_locked(&cell, true).await {
                    tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "restart a container");
                }
                drop(operation);
            }
        });
    }

    /// Removes a container that asked to be removed at its end.
    fn remove_later(&self, cell: Arc<ContainerCell>) {
        let engine = self.clone();
        self.spawn_lasting(move || {
            let (engine, cell) = (engine.clone(), Arc::clone(&cell));
            async move {
                let options = RemoveOptions { force: false, volumes: true };
                if let Err(error) = engine.container_remove(&cell.id, options).await
                    && error.kind() != crate::Kind::NotFound
                {
                    tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "remove a container that ended");
                }
            }
        });
    }
}

fn run_seconds(life: &Life) -> i64 {
    match (life.started_at, life.finished_at) {
        (Some(start), Some(end)) => end.duration_since(start).as_secs().max(0),
        _ => 0,
    }
}

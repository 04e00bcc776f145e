//! What a shim tells, or what its end says, of its containers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runtime::shim::protocol::{Event, ExitStatus};

use crate::engine::Engine;
use crate::error::Kind;
use crate::registry::{AnySandbox, ContainerCell};
use crate::shim::Shim;
use crate::work::{blocking, in_place};

/// How often those are looked at who have been killed and do not end.
const LOOK: Duration = Duration::from_millis(200);
const LOOK_AT_LAST: Duration = Duration::from_secs(3);

/// One run of a container, from its start to its end.
#[derive(Clone, Copy)]
struct Run {
    started_at: Option<base::Timestamp>,
}

impl Run {
    fn of(cell: &ContainerCell) -> Self {
        Self { started_at: cell.record().life.started_at }
    }

    /// Whether the container is in it still, as far as is told.
    fn goes_on(self, cell: &ContainerCell) -> bool {
        cell.status().is_active() && cell.record().life.started_at == self.started_at
    }
}

impl Engine {
    pub(super) fn on_shim_event(&self, event: Event) {
        match event {
            Event::Exited { container, exec: Some(exec), status } => {
                self.on_exec_exit(&container, &exec, &status)
            }
            Event::Exited { container, exec: None, status } => {
                let Ok(cell) =
                    self.inner.registry.find(&container).and_then(|id| self.inner.registry.get(&id))
                else {
                    return;
                };
                let engine = self.clone();
                self.spawn(async move { engine.on_exit(&cell, &status, None).await });
            }
            // These are told by whoever caused them, or with the exit.
            Event::Started { .. }
            | Event::OutOfMemory { .. }
            | Event::Paused { .. }
            | Event::Resumed { .. } => {}
        }
    }

    /// A shim went away: its containers are dead, and nobody may believe otherwise.
    pub(super) async fn on_shim_gone(&self, sandbox: &AnySandbox, shim: &Arc<Shim>) {
        let is_current = sandbox.shim().is_some_and(|current| Arc::ptr_eq(&current, shim));
        if !is_current {
            return;
        }
        for cell in self.inner.registry.of_sandbox(&sandbox.id) {
            if !cell.status().is_active() {
                continue;
            }
            tracing::warn!(container = %cell.id, "the shim of a container is gone");
            let engine = self.clone();
            let error = "the process that held the container was killed";
            self.spawn(async move { engine.on_lost(&cell, error).await });
        }
        if let AnySandbox::Shared(shared) = sandbox {
            self.sandbox_lost(shared).await;
        }
    }

    /// Nobody holds a container any more: it has ended once none of its processes is left, and not before.
    /// Another may be started in its place then, and the two must not meet. One that waits for a disk or a
    /// server dies when that answers; nobody is held up by it meanwhile.
    pub(crate) async fn on_lost(&self, cell: &Arc<ContainerCell>, error: &'static str) {
        let run = Run::of(cell);
        if !run.goes_on(cell) {
            return;
        }
        if self.ends_what_is_left(cell).await {
            return self.on_lost_end(cell, run, error).await;
        }
        tracing::warn!(container = %cell.id, "processes of a container that nobody holds are killed and still there");
        let (engine, cell) = (self.clone(), Arc::clone(cell));
        self.spawn_lasting(move || {
            let (engine, cell) = (engine.clone(), Arc::clone(&cell));
            async move {
                let mut pause = LOOK;
                // Whoever else told its end may have started it again: those processes are none of these.
                while run.goes_on(&cell) && !engine.ends_what_is_left(&cell).await {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(LOOK_AT_LAST),
                        () = engine.inner.closing.cancelled() => return,
                    }
                }
                engine.on_lost_end(&cell, run, error).await;
            }
        });
    }

    async fn on_lost_end(&self, cell: &Arc<ContainerCell>, run: Run, error: &str) {
        if !run.goes_on(cell) {
            return;
        }
        let (status, is_guess) = self.lost_exit(cell);
        self.on_exit(cell, &status, is_guess.then(|| error.to_owned())).await;
    }

    /// Kills what is left of a container's processes; whether none is there any more.
    async fn ends_what_is_left(&self, cell: &ContainerCell) -> bool {
        let path = self.inner.places.container_group(&cell.record(), &cell.sandbox);
        let ended = blocking(move || crate::cgroup::end(&path)).await;
        ended.unwrap_or_else(|error| {
            tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "end what is left of a container");
            // Where threads are missing it can be said later; what the kernel does not tell now, it never will.
            error.kind() != Kind::Unavailable
        })
    }

    /// How a container ended that nobody saw ending: what its shim wrote down, or a violent death.
    /// The flag says that it is a guess.
    pub(crate) fn lost_exit(&self, cell: &ContainerCell) -> (ExitStatus, bool) {
        let read = |path: &Path| -> Option<ExitStatus> {
            let bytes = in_place(|| std::fs::read(path)).ok()?;
            serde_json::from_slice(&bytes).ok()
        };
        // What is of this start is not told by its time: the clock may have been set back since.
        let written = read(&self.inner.places.end(&cell.id, &cell.sandbox.id)).or_else(|| {
            // This one may be of a start before the last.
            let started = cell.record().life.started_at;
            let lasting = read(&self.inner.places.lasting_end(&cell.id));
            lasting.filter(|status| started.is_none_or(|started| status.at >= started))
        });
        match written {
            Some(status) => (status, false),
            None => {
                let status = ExitStatus {
                    code: 137,
                    signal: Some(crate::signal::KILL),
                    at: self.inner.clock.now(),
                    oom_killed: false,
                };
                (status, true)
            }
        }
    }
}

//! Further processes in running containers.

mod create;
mod inspect;
mod kill;
mod resize;
mod run;
mod start;

use std::sync::Arc;

use parking_lot::Mutex;
use runtime::shim::protocol;
use tokio::sync::Notify;

use crate::container::AttachFlags;
use crate::engine::Engine;
use crate::id::{ContainerId, ExecId};
use crate::registry::ContainerCell;

pub use run::ExecOutput;

/// What a further process should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// `NAME=value`, over the container's.
    pub env: Vec<String>,
    /// The working directory; `None` is the container's.
    pub workdir: Option<String>,
    /// `user[:group]`; `None` is the container's.
    pub user: Option<String>,
    /// Gives it a terminal.
    pub tty: bool,
    /// Its size from the start.
    pub size: Option<crate::stream::TerminalSize>,
    /// All capabilities.
    pub privileged: bool,
    /// Which streams are wanted; standard input is open only if it is.
    pub attach: AttachFlags,
    /// Keys by which its clients leave it, in their own words; the engine only keeps them.
    pub detach_keys: String,
}

/// A further process and its state.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Its id.
    pub id: ExecId,
    /// The container it belongs to.
    pub container: ContainerId,
    /// What was asked for.
    pub spec: ExecSpec,
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it did.
    pub exit_code: Option<i32>,
    /// Its process id as the host sees it; `None` before the start.
    pub pid: Option<u32>,
}

/// One further process, as the engine keeps it.
pub(crate) struct ExecCell {
    pub(crate) id: ExecId,
    pub(crate) container: Arc<ContainerCell>,
    pub(crate) spec: ExecSpec,
    /// Nobody asked for it by itself: its comings and goings are not told.
    pub(crate) quiet: bool,
    pub(crate) progress: Mutex<Progress>,
    /// Wakes those who wait for it to begin, or for that to have failed.
    pub(crate) begun: Notify,
}

/// How far a further process is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) started: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) exit_code: Option<i32>,
    /// When it ended, by the engine's steady clock.
    pub(crate) ended: Option<std::time::Duration>,
}

/// How long a process is remembered after its end.
const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(300);

impl ExecSpec {
    /// The command as events tell it: the program, a blank, and its arguments.
    pub(crate) fn told(&self) -> String {
        let (program, arguments) =
            self.command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
        format!("{program} {}", arguments.join(" "))
    }
}

impl Engine {
    /// A client has left the streams of a process by its detach keys.
    pub fn exec_detached(&self, id: &ExecId) {
        if let Ok(cell) = self.exec_cell(id) {
            self.emit(&cell.container, "exec_detach", &[("execID", id.to_string())]);
        }
    }

    /// A process has ended: whoever learns of it first writes it down.
    pub(crate) fn exec_ended(&self, cell: &ExecCell, status: &protocol::ExitStatus) {
        {
            let mut progress = cell.progress.lock();
            if progress.exit_code.is_some() {
                return;
            }
            progress.exit_code = Some(status.code);
            progress.ended = Some(self.inner.clock.elapsed());
        }
        if !cell.quiet {
            let more = [("execID", cell.id.to_string()), ("exitCode", status.code.to_string())];
            self.emit(&cell.container, "exec_die", &more);
        }
    }

    /// A shim tells that a process has ended.
    pub(crate) fn on_exec_exit(&self, container: &str, exec: &str, status: &protocol::ExitStatus) {
        let cell = ExecId::parse(exec).ok().and_then(|id| self.inner.execs.read().get(&id).cloned());
        let shim = match &cell {
            Some(cell) => {
                self.exec_ended(cell, status);
                if cell.quiet {
                    self.inner.execs.write().remove(&cell.id);
                }
                cell.container.sandbox.shim()
            }
            // One of an earlier daemon's: nobody asks for it any more.
            None => self
                .inner
                .registry
                .find(container)
                .and_then(|id| self.inner.registry.get(&id))
                .ok()
                .and_then(|cell| cell.sandbox.shim()),
        };
        let Some(shim) = shim else { return };
        let (container, exec) = (container.to_owned(), exec.to_owned());
        self.spawn(async move {
            if let Err(error) = shim.delete(&container, Some(&exec)).await {
                tracing::debug!(exec, error = %base::error::chain(&error), "forget a process in its shim");
            }
        });
        self.forget_old_execs();
    }

    /// Forgets the processes of a container that does not run any more.
    pub(crate) fn forget_execs(&self, container: &ContainerCell) {
        let status = protocol::ExitStatus {
            code: 137,
            signal: Some(crate::signal::KILL),
            at: self.inner.clock.now(),
            oom_killed: false,
        };
        let gone: Vec<Arc<ExecCell>> = self
            .inner
            .execs
            .read()
            .values()
            .filter(|cell| cell.container.id == container.id)
            .cloned()
            .collect();
        for cell in gone {
            if cell.progress.lock().started {
                self.exec_ended(&cell, &status);
            } else {
                // Nobody can start it any more.
                self.inner.execs.write().remove(&cell.id);
            }
        }
        self.forget_old_execs();
    }

    fn forget_old_execs(&self) {
        let now = self.inner.clock.elapsed();
        self.inner.execs.write().retain(|_, cell| {
            let ended = cell.progress.lock().ended;
            ended.is_none_or(|ended| now.saturating_sub(ended) < REMEMBERED)
        });
    }
}

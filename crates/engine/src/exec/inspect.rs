//! Telling about a further process.

use super::Exec;
use crate::engine::Engine;
use crate::error::{Fact, Result};
use crate::id::ExecId;

impl Engine {
    /// A process that was created; it is remembered until its container ends, and some minutes
    /// after its own end.
    pub fn exec_inspect(&self, id: &ExecId) -> Result<Exec> {
        let cell = self.exec_cell(id)?;
        let progress = cell.progress.lock().clone();
        Ok(Exec {
            id: cell.id.clone(),
            container: cell.container.id.clone(),
            spec: cell.spec.clone(),
            running: progress.started && progress.exit_code.is_none(),
            exit_code: progress.exit_code,
            pid: progress.pid,
        })
    }

    /// The process whose id is `reference`, or begins with it. `No such exec instance: …` otherwise.
    pub fn exec_find(&self, reference: &str) -> Result<ExecId> {
        let execs = self.inner.execs.read();
        let mut matches =
            execs.keys().filter(|id| !reference.is_empty() && id.as_str().starts_with(reference));
        match (matches.next(), matches.next()) {
            (Some(id), None) => Ok(id.clone()),
            _ => Err(Fact::NoExec { reference: reference.to_owned() }.into()),
        }
    }
}

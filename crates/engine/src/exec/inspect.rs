//! Telling about a further process.

use super::Exec;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ExecId;

impl Engine {
    /// A process that was created; it is remembered until its container ends, and some minutes
    /// after its own end.
    pub fn exec_inspect(&self, id: &ExecId) -> Result<Exec> {
        let _ = id;
        todo!()
    }

    /// The process whose id is `reference`, or begins with it. `No such exec instance: …` otherwise.
    pub fn exec_find(&self, reference: &str) -> Result<ExecId> {
        let _ = reference;
        todo!()
    }
}

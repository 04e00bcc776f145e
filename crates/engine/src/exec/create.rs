//! Preparing a further process.

use super::ExecSpec;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::{ContainerId, ExecId};

impl Engine {
    /// Prepares a process in a running container; it begins with [`Engine::exec_start`].
    pub async fn exec_create(&self, container: &ContainerId, spec: ExecSpec) -> Result<ExecId> {
        let _ = (container, spec);
        todo!()
    }
}

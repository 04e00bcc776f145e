//! Running a process to its end: for probes, health checks and builds.

use std::time::Duration;

use bytes::Bytes;

use super::ExecSpec;
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;

/// What a process that ran to its end left.
#[derive(Clone, Debug)]
pub struct ExecOutput {
    /// Its exit code; `None` where it took too long and was killed.
    pub exit_code: Option<i32>,
    /// What it wrote to standard output, as much as was asked for.
    pub stdout: Bytes,
    /// What it wrote to standard error, as much as was asked for.
    pub stderr: Bytes,
}

impl Engine {
    /// Runs a process in a container and waits for its end, `timeout` at most, keeping the first
    /// `limit` bytes of each output.
    pub async fn exec_run(
        &self,
        container: &ContainerId,
        spec: ExecSpec,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<ExecOutput> {
        let _ = (container, spec, timeout, limit);
        todo!()
    }
}

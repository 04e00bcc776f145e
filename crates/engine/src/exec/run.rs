//! Running a process to its end: for probes, health checks and builds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{ExecCell, ExecSpec};
use crate::engine::Engine;
use crate::error::Result;
use crate::id::ContainerId;
use crate::shim::LAUNCH;
use crate::signal;
use crate::stream::{Attached, OutputKind};

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

/// Somebody waits for the end of a process.
struct Waiting<'a> {
    engine: &'a Engine,
    cell: &'a Arc<ExecCell>,
    is_over: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.engine.inner.execs.write().remove(&self.cell.id);
        if self.is_over {
            return;
        }
        // Without a runtime the daemon ends, and others see to what it leaves.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let cell = Arc::clone(self.cell);
            runtime.spawn(async move {
                if let Err(error) = kill(&cell).await {
                    tracing::debug!(error = %base::error::chain(&error), "kill a process nobody waits for");
                }
            });
        }
    }
}

/// Kills a process that took too long.
async fn kill(cell: &ExecCell) -> Result<()> {
    let shim = cell.container.shim()?;
    let killed = shim.kill(cell.container.id.as_str(), Some(cell.id.as_str()), signal::KILL).await;
    if let Err(error) = killed {
        tracing::debug!(error = %base::error::chain(&error), "kill a process that took too long");
    }
    Ok(())
}

impl Engine {
    /// Runs a process in a container and waits for its end, `timeout` at most, keeping the first
    /// `limit` bytes of each output. A process for which nobody waits any more is killed.
    pub async fn exec_run(
        &self,
        container: &ContainerId,
        spec: ExecSpec,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<ExecOutput> {
        let cell = self.exec_prepare(container, spec, true)?;
        cell.progress.lock().started = true;
        self.inner.execs.write().insert(cell.id.clone(), Arc::clone(&cell));
        let mut waiting = Waiting { engine: self, cell: &cell, is_over: false };
        let output = self.exec_to_end(&cell, timeout, limit).await;
        waiting.is_over = true;
        output
    }

    async fn exec_to_end(
        &self,
        cell: &Arc<ExecCell>,
        timeout: Option<Duration>,
        limit: usize,
    ) -> Result<ExecOutput> {
        let begun = self.inner.clock.elapsed();
        let launched = self.exec_launch(cell, None, LAUNCH);
        let launched = match timeout {
            None => launched.await?,
            Some(timeout) => match tokio::time::timeout(timeout, launched).await {
                Ok(launched) => launched?,
                // Nobody asks for it any more, so its shim does not let it come to be.
                Err(_) => {
                    let nothing = Bytes::new();
                    return Ok(ExecOutput { exit_code: None, stdout: nothing.clone(), stderr: nothing });
                }
            },
        };
        let timeout =
            timeout.map(|timeout| timeout.saturating_sub(self.inner.clock.elapsed().saturating_sub(begun)));
        let Attached { input, mut output, resize, exit } = launched;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let run = async {
            if cell.spec.attach.stdin {
                input.close().await?;
            }
            while let Some(piece) = output.next().await {
                let (kind, bytes) = piece?;
                let kept = match kind {
                    OutputKind::Stdout => &mut stdout,
                    OutputKind::Stderr => &mut stderr,
                };
                let room = limit.saturating_sub(kept.len()).min(bytes.len());
                kept.extend_from_slice(&bytes[..room]);
            }
            exit.await
        };
        let status = match timeout {
            None => Some(run.await?),
            Some(timeout) => match tokio::time::timeout(timeout, run).await {
                Ok(status) => Some(status?),
                Err(_) => {
                    kill(cell).await?;
                    None
                }
            },
        };
        drop(resize);
        Ok(ExecOutput {
            exit_code: status.map(|status| status.code),
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }
}

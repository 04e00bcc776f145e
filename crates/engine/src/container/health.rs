//! Checking a container's health while it runs.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use tokio_util::sync::CancellationToken;

use super::spec::{AttachFlags, HealthTest, Healthcheck};
use super::view::{Health, HealthResult, HealthStatus, Status};
use crate::engine::Engine;
use crate::exec::ExecSpec;
use crate::registry::ContainerCell;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Results that are remembered.
const REMEMBERED: usize = 5;
/// Bytes of output that are remembered of each.
const OUTPUT: usize = 4096;

/// The thinking half: what `result` makes of a container's health. In the start period failures
/// do not count.
pub(super) fn judge(health: &Health, result: HealthResult, starting: bool, retries: u32) -> Health {
    let mut next = health.clone();
    if result.exit_code == 0 {
        next.status = HealthStatus::Healthy;
        next.failing_streak = 0;
    } else if !(starting && health.status == HealthStatus::Starting) {
        next.failing_streak += 1;
        if next.failing_streak >= retries {
            next.status = HealthStatus::Unhealthy;
        }
    }
    next.log.push(result);
    if next.log.len() > REMEMBERED {
        next.log.remove(0);
    }
    next
}

impl Engine {
    /// Begins to check a container's health, if it has a check; ends when the container does.
    pub(crate) fn watch_health(&self, cell: &Arc<ContainerCell>) {
        let Some(check) = cell.record().resolved.healthcheck.clone() else { return };
        let token = CancellationToken::new();
        *cell.health.lock() = Some(token.clone().drop_guard());
        cell.change(|record| {
            record.health.get_or_insert_default();
        });
        let (engine, cell) = (self.clone(), Arc::clone(cell));
        self.spawn_lasting(move || {
            let (engine, cell) = (engine.clone(), Arc::clone(&cell));
            let (check, token) = (check.clone(), token.clone());
            async move {
                tokio::select! {
                    () = engine.check_health(&cell, &check) => {}
                    () = token.cancelled() => {}
                    () = engine.inner.closing.cancelled() => {}
                }
            }
        });
    }

    async fn check_health(&self, cell: &Arc<ContainerCell>, check: &Healthcheck) {
        let started = cell.record().life.started_at.unwrap_or_else(|| self.inner.clock.now());
        let start_period = check.start_period.unwrap_or_default();
        let is_starting = |now: Timestamp, health: &Health| {
            let age = Duration::try_from(now.duration_since(started)).unwrap_or_default();
            health.status == HealthStatus::Starting && age < start_period
        };
        loop {
            let health = cell.record().health.clone().unwrap_or_default();
            let starting = is_starting(self.inner.clock.now(), &health);
            let interval = if starting {
                check.start_interval.unwrap_or(START_INTERVAL)
            } else {
                check.interval.unwrap_or(INTERVAL)
            };
            tokio::time::sleep(interval).await;
            if cell.status() != Status::Running {
                continue;
            }
            let result = self.check_once(cell, check).await;
            let starting = is_starting(result.start, &health);
            let next = judge(&health, result, starting, check.retries.unwrap_or(RETRIES).max(1));
            let changed = (next.status != health.status).then_some(next.status);
            let record = cell.change(|record| record.health = Some(next));
            if let Some(status) = changed {
                if let Err(error) = self.save_life(&record) {
                    tracing::warn!(container = %cell.id, error = %base::error::chain(&error), "write down a container's health");
                }
                self.emit(cell, format!("health_status: {}", status.as_str()), &[]);
                cell.tell(|_| {});
            }
        }
    }

    async fn check_once(&self, cell: &Arc<ContainerCell>, check: &Healthcheck) -> HealthResult {
        let command = match &check.test {
            HealthTest::Command(words) => words.clone(),
            HealthTest::Shell(line) => {
                let shell = cell.record().resolved.shell.clone();
                let mut words =
                    if shell.is_empty() { vec!["/bin/sh".to_owned(), "-c".to_owned()] } else { shell };
                words.push(line.clone());
                words
            }
            HealthTest::Inherit | HealthTest::Disabled => Vec::new(),
        };
        let attach = AttachFlags { stdin: false, stdout: true, stderr: true };
        let spec = ExecSpec { command, attach, ..ExecSpec::default() };
        let start = self.inner.clock.now();
        let timeout = check.timeout.unwrap_or(TIMEOUT);
        let (exit_code, output) = match self.exec_run(&cell.id, spec, Some(timeout), OUTPUT).await {
            Ok(run) => {
                let mut output = [run.stdout, run.stderr].concat();
                output.truncate(OUTPUT);
                match run.exit_code {
                    Some(code) => (code, String::from_utf8_lossy(&output).into_owned()),
                    None => (-1, overdue(timeout, &String::from_utf8_lossy(&output))),
                }
            }
            Err(error) => (-1, error.full_message()),
        };
        HealthResult { start, end: self.inner.clock.now(), exit_code, output }
    }
}

/// What is told of a check that took too long, with what it said until then.
fn overdue(timeout: Duration, output: &str) -> String {
    let timeout = base::duration::text(timeout);
    if output.is_empty() {
        return format!("Health check exceeded timeout ({timeout})");
    }
    format!("Health check exceeded timeout ({timeout}): {output}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges exit codes one after another, three retries, the first `starting` of them in the start period.
    #[track_caller]
    fn check(codes: &[i32], starting: usize, expected: &[&str]) {
        let mut health = Health::default();
        let mut seen = Vec::new();
        for (index, &exit_code) in codes.iter().enumerate() {
            let result = HealthResult {
                start: Timestamp::UNIX_EPOCH,
                end: Timestamp::UNIX_EPOCH,
                exit_code,
                output: String::new(),
            };
            health = judge(&health, result, index < starting, 3);
            seen.push(health.status.as_str());
        }
        assert_eq!(seen, expected);
        assert!(health.log.len() <= REMEMBERED);
    }

    #[test]
    fn one_success_is_healthy_and_three_failures_are_not() {
        check(&[0, 1, 1, 1, 0], 0, &["healthy", "healthy", "healthy", "unhealthy", "healthy"]);
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        check(
            &[1, 1, 1, 1, 1, 1],
            3,
            &["starting", "starting", "starting", "starting", "starting", "unhealthy"],
        );
    }
}

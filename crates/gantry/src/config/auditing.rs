//! What is said of the audit log, and whether it can be so.

use std::time::Duration;

use super::{ConfigError, Reader};
use crate::audit::Mode;
use crate::audit_log::{self, Format, Place, Rotation};
use crate::audit_webhook::{self, Batches, Throttle};

impl Reader<'_> {
    pub(super) fn audit_log(&self) -> Result<Option<audit_log::Options>, ConfigError> {
        let format = match self.of_audit("audit-log-format", "log format", &["legacy", "json"])? {
            0 => Format::Legacy,
            _ => Format::Json,
        };
        let mode = self.audit_mode("audit-log-mode", "log mode")?;
        let rotation = Rotation {
            size: self.count("audit-log-maxsize")?.into(),
            backups: usize::try_from(self.count("audit-log-maxbackup")?).unwrap_or(usize::MAX),
            days: self.count("audit-log-maxage")?.into(),
            compress: self.parsed("audit-log-compress", "`true` or `false`")?,
        };
        let place = match self.raw("audit-log-path").0.as_str() {
            "" => return Ok(None),
            "-" => Place::Output,
            _ => Place::File(self.directory("audit-log-path")?),
        };
        Ok(Some(audit_log::Options { place, rotation, mode, format }))
    }

    pub(super) fn audit_webhook(&self) -> Result<Option<audit_webhook::Options>, ConfigError> {
        let mode = self.audit_mode("audit-webhook-mode", "webhook mode")?;
        let first_back_off = self.duration("audit-webhook-initial-backoff")?;
        let buffer = self.count("audit-webhook-batch-buffer-size")?;
        let size = self.count("audit-webhook-batch-max-size")?;
        let wait = self.duration("audit-webhook-batch-max-wait")?;
        let throttled: bool = self.parsed("audit-webhook-batch-throttle-enable", "`true` or `false`")?;
        let rate: f64 = self.parsed("audit-webhook-batch-throttle-qps", "a number")?;
        let burst = self.count("audit-webhook-batch-throttle-burst")?;
        if mode == Mode::Batch {
            // Otherwise they are for nothing.
            let positive = |is_one: bool, name, what: &str, value: String| match is_one {
                true => Ok(()),
                false => {
                    let why =
                        format!("invalid audit batch webhook {what} {value}, must be a positive number");
                    Err(self.wrong(name, why))
                }
            };
            positive(buffer > 0, "audit-webhook-batch-buffer-size", "buffer size", buffer.to_string())?;
            positive(size > 0, "audit-webhook-batch-max-size", "max batch size", size.to_string())?;
            if throttled {
                let is_rate = rate.is_finite() && rate > 0.0;
                positive(is_rate, "audit-webhook-batch-throttle-qps", "throttle QPS", rate.to_string())?;
                let name = "audit-webhook-batch-throttle-burst";
                positive(burst > 0, name, "throttle burst", burst.to_string())?;
            }
        }
        if self.raw("audit-webhook-config-file").0.is_empty() {
            return Ok(None);
        }
        let slowest = Duration::from_secs(365 * 24 * 60 * 60);
        let throttle = Throttle { rate: rate.clamp(1.0 / slowest.as_secs_f64(), 1e9), burst };
        Ok(Some(audit_webhook::Options {
            kubeconfig: self.directory("audit-webhook-config-file")?,
            mode,
            first_back_off: first_back_off.min(slowest),
            batches: Batches {
                buffer: usize::try_from(buffer).unwrap_or(usize::MAX).min(MOST_WAITING),
                size: usize::try_from(size).unwrap_or(usize::MAX),
                wait: wait.min(slowest),
                throttle: throttled.then_some(throttle),
            },
        }))
    }

    fn audit_mode(&self, name: &'static str, what: &str) -> Result<Mode, ConfigError> {
        Ok(match self.of_audit(name, what, &["batch", "blocking", "blocking-strict"])? {
            0 => Mode::Batch,
            1 => Mode::Blocking,
            _ => Mode::BlockingStrict,
        })
    }

    /// Which of these a key says.
    fn of_audit(&self, name: &'static str, what: &str, known: &[&str]) -> Result<usize, ConfigError> {
        let value = self.raw(name).0;
        let found = known.iter().position(|known| *known == value);
        found.ok_or_else(|| {
            let (kind, known) = (what.rsplit(' ').next().unwrap_or_default(), known.join(","));
            self.wrong(name, format!("invalid audit {what} {value}, allowed {kind}s are \"{known}\""))
        })
    }

    fn count(&self, name: &'static str) -> Result<u32, ConfigError> {
        self.parsed(name, "a number that is not negative")
    }
}

/// No more events can wait than a channel has room for.
const MOST_WAITING: usize = 1 << 24;

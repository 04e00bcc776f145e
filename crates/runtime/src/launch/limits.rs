//! Resource limits and the adjustment of the out-of-memory killer, set from outside.
//!
//! Raising them takes `CAP_SYS_RESOURCE`. A runtime without it gives what it may and says so:
//! that a container gets a lower limit than it asked for must not keep it from running.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::ProcessError;
use crate::spec::{Process, Rlimit as SpecRlimit};

const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Applies the limits of `process` to the process `pid`, a child that waits.
pub(super) fn apply(pid: u32, process: &Process, warnings: &mut Vec<String>) -> Result<(), ProcessError> {
    for limit in &process.rlimits {
        apply_one(pid, limit, warnings)?;
    }
    if let Some(adjustment) = process.oom_score_adj {
        adjust_oom(pid, adjustment, warnings)?;
    }
    Ok(())
}

fn apply_one(pid: u32, limit: &SpecRlimit, warnings: &mut Vec<String>) -> Result<(), ProcessError> {
    let resource = resource(&limit.kind)
        .ok_or_else(|| ProcessError::invalid(format!("unknown resource limit `{}`", limit.kind)))?;
    if limit.soft > limit.hard {
        let text = format!("{}: soft limit {} is above hard limit {}", limit.kind, limit.soft, limit.hard);
        return Err(ProcessError::invalid(text));
    }
    let number = Pid::from_raw(pid as i32).expect("process ids are positive");
    let wanted = Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) };
    let failed = |error: Errno| ProcessError::host(&format!("set {}", limit.kind), error);
    match prlimit(Some(number), resource, wanted) {
        Ok(_) => Ok(()),
        Err(Errno::PERM) => {
            let present = rustix::process::getrlimit(resource);
            let clamped = clamp(limit.soft, limit.hard, present.maximum);
            prlimit(Some(number), resource, clamped).map_err(failed)?;
            warnings.push(format!(
                "{} is limited to {} instead of {}: raising it takes CAP_SYS_RESOURCE",
                limit.kind,
                clamped.maximum.map_or("unlimited".to_owned(), |value| value.to_string()),
                limit.hard
            ));
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

/// What may be set where the hard limit cannot be raised above `ceiling`.
fn clamp(soft: u64, hard: u64, ceiling: Option<u64>) -> Rlimit {
    let lower = |value: u64| match ceiling {
        Some(ceiling) => finite(value.min(ceiling)),
        None => finite(value),
    };
    Rlimit { current: lower(soft), maximum: lower(hard) }
}

/// The kernel's largest number means no limit.
fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

fn adjust_oom(pid: u32, adjustment: i32, warnings: &mut Vec<String>) -> Result<(), ProcessError> {
    if !OOM_SCORE_ADJ.contains(&adjustment) {
        return Err(ProcessError::invalid(format!("`oomScoreAdj` {adjustment} is not -1000 to 1000")));
    }
    let path = format!("/proc/{pid}/oom_score_adj");
    let failed = |source| ProcessError::Host { what: format!("write `{path}`"), source };
    match std::fs::write(&path, adjustment.to_string()) {
        Ok(()) => Ok(()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
            let present = std::fs::read_to_string(&path).map_err(failed)?;
            warnings.push(format!(
                "oom_score_adj stays {} instead of {adjustment}: lowering it takes CAP_SYS_RESOURCE",
                present.trim()
            ));
            Ok(())
        }
        Err(error) => Err(failed(error)),
    }
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "RLIMIT_AS" => Resource::As,
        "RLIMIT_CORE" => Resource::Core,
        "RLIMIT_CPU" => Resource::Cpu,
        "RLIMIT_DATA" => Resource::Data,
        "RLIMIT_FSIZE" => Resource::Fsize,
        "RLIMIT_LOCKS" => Resource::Locks,
        "RLIMIT_MEMLOCK" => Resource::Memlock,
        "RLIMIT_MSGQUEUE" => Resource::Msgqueue,
        "RLIMIT_NICE" => Resource::Nice,
        "RLIMIT_NOFILE" => Resource::Nofile,
        "RLIMIT_NPROC" => Resource::Nproc,
        "RLIMIT_RSS" => Resource::Rss,
        "RLIMIT_RTPRIO" => Resource::Rtprio,
        "RLIMIT_RTTIME" => Resource::Rttime,
        "RLIMIT_SIGPENDING" => Resource::Sigpending,
        "RLIMIT_STACK" => Resource::Stack,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(soft: u64, hard: u64, ceiling: Option<u64>, expected: (Option<u64>, Option<u64>)) {
        let clamped = clamp(soft, hard, ceiling);
        assert_eq!((clamped.current, clamped.maximum), expected);
    }

    #[test]
    fn limits_are_lowered_to_what_may_be_set_and_never_raised() {
        check(1024, 1 << 20, Some(20000), (Some(1024), Some(20000)));
        check(1 << 20, 1 << 20, Some(20000), (Some(20000), Some(20000)));
        check(10, 20, Some(20000), (Some(10), Some(20)));
        check(u64::MAX, u64::MAX, None, (None, None));
    }
}

//! Resource limits and the adjustment of the out-of-memory killer.
//!
//! Raising them takes `CAP_SYS_RESOURCE`, and is done from outside before anything else. A runtime
//! without it gives what it may and says so: that a container gets a lower limit than it asked for
//! must not keep it from running. Lowering them is the last thing that the new process itself does
//! before its program takes its place: making a container takes more descriptors and memory than
//! the program may be meant to have.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

use super::ProcessError;
use super::channel::{Failed, Tried};
use super::plan::Limit;
use crate::spec::{Process, Rlimit as SpecRlimit};

const OOM_SCORE_ADJ: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The limits that are asked for, in the kernel's terms.
pub(super) fn plan(limits: &[SpecRlimit]) -> Result<Vec<Limit>, ProcessError> {
    limits.iter().map(plan_one).collect()
}

/// Makes room for the limits of `process` in the process `pid`, a child that waits, and adjusts
/// how readily it is killed for memory.
pub(super) fn raise(
    pid: u32,
    process: &Process,
    limits: &[Limit],
    warnings: &mut Vec<String>,
) -> Result<(), ProcessError> {
    for ((resource, wanted), spec) in limits.iter().zip(&process.rlimits) {
        raise_one(pid, *resource, *wanted, &spec.kind, warnings)?;
    }
    if let Some(adjustment) = process.oom_score_adj {
        adjust_oom(pid, adjustment, warnings)?;
    }
    Ok(())
}

/// Puts the limits in force for this process; those that could not be raised stay where they are.
/// Does not allocate.
pub(super) fn lower(limits: &[Limit]) -> Result<(), Failed> {
    for &(resource, wanted) in limits {
        setrlimit(resource, clamp(wanted, getrlimit(resource).maximum))
            .tried(format_args!("set limit number {}", resource as u32))?;
    }
    Ok(())
}

fn plan_one(limit: &SpecRlimit) -> Result<Limit, ProcessError> {
    let resource = resource(&limit.kind)
        .ok_or_else(|| ProcessError::invalid(format!("unknown resource limit `{}`", limit.kind)))?;
    if limit.soft > limit.hard {
        let text = format!("{}: soft limit {} is above hard limit {}", limit.kind, limit.soft, limit.hard);
        return Err(ProcessError::invalid(text));
    }
    Ok((resource, Rlimit { current: finite(limit.soft), maximum: finite(limit.hard) }))
}

fn raise_one(
    pid: u32,
    resource: Resource,
    wanted: Rlimit,
    kind: &str,
    warnings: &mut Vec<String>,
) -> Result<(), ProcessError> {
    // A child begins with what this process has.
    let present = getrlimit(resource);
    if !is_above(wanted.maximum, present.maximum) {
        return Ok(());
    }
    let number = Pid::from_raw(pid as i32).expect("process ids are positive");
    match prlimit(Some(number), resource, Rlimit { maximum: wanted.maximum, ..present }) {
        Ok(_) => Ok(()),
        Err(Errno::PERM) => {
            let text = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), |value| value.to_string());
            warnings.push(format!(
                "{kind} is limited to {} instead of {}: raising it takes CAP_SYS_RESOURCE",
                text(present.maximum),
                text(wanted.maximum)
            ));
            Ok(())
        }
        Err(error) => Err(ProcessError::host(&format!("set {kind}"), error)),
    }
}

/// What may be set where the hard limit cannot be raised above `ceiling`.
fn clamp(wanted: Rlimit, ceiling: Option<u64>) -> Rlimit {
    let lower = |value| if is_above(value, ceiling) { ceiling } else { value };
    Rlimit { current: lower(wanted.current), maximum: lower(wanted.maximum) }
}

/// Whether one limit is higher than another; none is the highest.
fn is_above(limit: Option<u64>, other: Option<u64>) -> bool {
    other.is_some_and(|other| limit.is_none_or(|limit| limit > other))
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

    fn check(wanted: (u64, u64), ceiling: Option<u64>, expected: (Option<u64>, Option<u64>)) {
        let limit = SpecRlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: wanted.0, hard: wanted.1 };
        let clamped = clamp(plan_one(&limit).expect("a good limit").1, ceiling);
        assert_eq!((clamped.current, clamped.maximum), expected);
    }

    #[test]
    fn limits_are_lowered_to_what_may_be_set_and_never_raised() {
        check((1024, 1 << 20), Some(20000), (Some(1024), Some(20000)));
        check((1 << 20, 1 << 20), Some(20000), (Some(20000), Some(20000)));
        check((10, 20), Some(20000), (Some(10), Some(20)));
        check((10, u64::MAX), Some(20), (Some(10), Some(20)));
        check((u64::MAX, u64::MAX), None, (None, None));
    }
}

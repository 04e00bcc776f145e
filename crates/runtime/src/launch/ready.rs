//! When the filter of a process that is born ready comes into force.
//!
//! Such a process is made what its program is to be by a stage, which then clones it (see `stage.rs`).
//! To put a filter in force takes `CAP_SYS_ADMIN`, or no new privileges. So without the latter it is
//! the stage that does it, and gives the right up: the filter must allow that, and the few calls that
//! are left to the process itself. A filter that does not is refused. With no new privileges, such a
//! filter comes last, just before the program: until then the process has no more rights than it, but
//! no filter.
//!
//! runc asks for more of a profile: where it comes early there, it comes before user, groups and
//! capabilities are set.

use rustix::process::Resource;

use super::ProcessError;
use super::plan::{Limit, ProcessPlan, StdioPlan};
use crate::sys::clone::CLONE_PARENT;

/// A system call: its name, number and first arguments.
type Call = (&'static str, i64, [u64; 3]);

/// Decides when the filter comes into force, and when limits do. `has_hooks` says whether hooks run
/// between the clone and the program.
pub(super) fn prepare(plan: &mut ProcessPlan, has_hooks: bool) -> Result<(), ProcessError> {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    // How many processes a user may have is looked at when one is cloned, and there is one more than
    // there will be; hooks may need more of everything.
    let is_late = |(resource, _): &Limit| has_hooks || *resource == Resource::Nproc;
    let (late, early): (Vec<Limit>, Vec<Limit>) = plan.limits.iter().copied().partition(is_late);
    let is_forbidden = |(_, number, args): &Call| !filter.allows(*number, *args);
    match left(plan, &late).into_iter().find(is_forbidden) {
        None => {
            plan.filter_early = true;
            (plan.limits, plan.early_limits) = (late, early);
            Ok(())
        }
        Some(_) if plan.no_new_privileges => Ok(()),
        Some((name, ..)) => Err(ProcessError::invalid(format!(
            "the seccomp profile forbids `{name}`, which a process that joins others still needs when its profile is in force: allow it, or forbid new privileges, with which the profile comes last"
        ))),
    }
}

/// The calls that are made with the filter in force, up to the program.
fn left(plan: &ProcessPlan, limits: &[Limit]) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    if plan.loads_with() != 0 {
        calls.push(("capset", libc::SYS_capset, [0; 3]));
    }
    calls.push(("clone", libc::SYS_clone, [CLONE_PARENT, 0, 0]));
    calls.push(("write", libc::SYS_write, [0; 3]));
    if plan.die_with_parent {
        let args = [libc::PR_SET_PDEATHSIG as u64, libc::SIGKILL as u64, 0];
        calls.push(("prctl", libc::SYS_prctl, args));
    }
    calls.push(("setsid", libc::SYS_setsid, [0; 3]));
    if matches!(plan.stdio, StdioPlan::Terminal(_)) {
        calls.push(("ioctl(TIOCSCTTY)", libc::SYS_ioctl, [0, libc::TIOCSCTTY, 0]));
    }
    if plan.awaits || plan.wait {
        calls.push(("read", libc::SYS_read, [0; 3]));
    }
    if !limits.is_empty() {
        calls.push(("prlimit64", libc::SYS_prlimit64, [0; 3]));
    }
    calls.push(("execve", libc::SYS_execve, [0; 3]));
    calls
}

#[cfg(test)]
mod tests {
    use super::super::prepare;
    use crate::spec::{Linux, Process, Rlimit, Seccomp, SeccompAction, SeccompRule};

    use super::*;

    fn rule(names: &[&str], action: SeccompAction) -> SeccompRule {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        SeccompRule { names, action, errno_ret: None, args: Vec::new() }
    }

    fn profile(default_action: SeccompAction, rules: Vec<SeccompRule>) -> Seccomp {
        Seccomp {
            default_action,
            default_errno_ret: None,
            architectures: Vec::new(),
            flags: Vec::new(),
            listener_path: None,
            syscalls: rules,
        }
    }

    fn all_but(names: &[&str]) -> Seccomp {
        profile(SeccompAction::Allow, vec![rule(names, SeccompAction::Errno)])
    }

    #[track_caller]
    fn check(profile: &Seccomp, change: impl FnOnce(&mut ProcessPlan), expected: Result<bool, &str>) {
        let filter = crate::seccomp::compile(profile).expect("a good profile");
        let rlimits = vec![
            Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 4, hard: 4 },
            Rlimit { kind: "RLIMIT_CORE".to_owned(), soft: 4, hard: 4 },
        ];
        let process =
            Process { args: vec!["true".to_owned()], cwd: "/".into(), rlimits, ..Process::default() };
        let stdio = StdioPlan::Inherit;
        let linux = Linux::default();
        let plan = prepare::process(&process, &linux, Some(&filter), false, stdio, &mut Vec::new());
        let mut plan = plan.expect("a good process");
        plan.wait = false;
        change(&mut plan);
        match (prepare(&mut plan, false).map(|()| plan.filter_early), expected) {
            (Ok(early), Ok(expected)) => {
                assert_eq!(early, expected);
                assert_eq!(plan.early_limits.is_empty(), !early);
            }
            (Err(error), Err(call)) => {
                let error = error.to_string();
                assert!(error.contains(&format!("forbids `{call}`")), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }

    fn no_new_privileges(plan: &mut ProcessPlan) {
        plan.no_new_privileges = true;
    }

    #[test]
    fn dockers_own_profile_comes_into_force_before_the_process_is_born() {
        let docker = crate::seccomp::docker_default(&[]);
        check(&docker, |_| {}, Ok(true));
        check(&docker, no_new_privileges, Ok(true));
        check(&docker, |plan| plan.stdio = StdioPlan::Terminal(None), Ok(true));
    }

    #[test]
    fn a_profile_that_forbids_what_is_left_to_do_comes_last_or_not_at_all() {
        for call in ["clone", "write", "setsid", "execve"] {
            check(&all_but(&[call]), |_| {}, Err(call));
            check(&all_but(&[call]), no_new_privileges, Ok(false));
        }
        // A right that is not to stay must be given up, but not where it stays, nor where it is not needed.
        check(&all_but(&["capset"]), |_| {}, Err("capset"));
        check(&all_but(&["capset"]), no_new_privileges, Ok(true));
        let keep = |plan: &mut ProcessPlan| {
            (plan.capabilities.effective, plan.capabilities.permitted) = (u64::MAX, u64::MAX);
        };
        check(&all_but(&["capset"]), keep, Ok(true));
    }

    #[test]
    fn no_call_is_asked_for_that_is_not_made() {
        let few = ["capset", "clone", "write", "setsid", "execve"];
        let few = profile(SeccompAction::Errno, vec![rule(&few, SeccompAction::Allow)]);
        check(&few, |_| {}, Ok(true));
        check(&few, |plan| plan.die_with_parent = true, Err("prctl"));
        check(&few, |plan| plan.stdio = StdioPlan::Terminal(None), Err("ioctl(TIOCSCTTY)"));
        check(&few, |plan| plan.awaits = true, Err("read"));
        check(&few, |plan| plan.wait = true, Err("read"));
        let number = |plan: &mut ProcessPlan| plan.limits[0].0 = Resource::Nproc;
        check(&few, number, Err("prlimit64"));
    }
}

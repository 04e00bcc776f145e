//! What is run, as whom, with which rights.

use std::path::Path;

use super::super::plan::{Kept, LabelPlan, ProcessPlan, StdioPlan};
use super::super::{ProcessError, channel, limits};
use super::{c_string, strings};
use crate::capability::{self, CapabilitySets};
use crate::seccomp::Filter;
use crate::spec::{Capabilities, HIGHEST_ID, IoPriority, Linux, Personality, Process, Scheduler};
use crate::sys::schedule::Schedule;

/// Room for a home directory.
const HOME: usize = 1024;

/// Plans a process. `warnings` gets what cannot be given here and is left out.
pub(in super::super) fn prepare(
    process: &Process,
    linux: &Linux,
    filter: Option<&Filter>,
    userns: bool,
    stdio: StdioPlan,
    warnings: &mut Vec<String>,
) -> Result<ProcessPlan, ProcessError> {
    let Some(program) = process.args.first().filter(|program| !program.is_empty()) else {
        return Err(ProcessError::invalid("`process.args` is empty"));
    };
    if !process.cwd.is_absolute() {
        let cwd = process.cwd.display();
        return Err(ProcessError::invalid(format!("working directory `{cwd}` is not absolute")));
    }
    if !process.user.is_in_range() {
        return Err(ProcessError::invalid(format!("uids and gids must be in range 0-{HIGHEST_ID}")));
    }
    if process.exec_cpu_affinity.as_ref().is_some_and(|affinity| {
        [&affinity.initial, &affinity.last].into_iter().flatten().any(|list| !list.is_empty())
    }) {
        return Err(ProcessError::invalid(
            "`process.execCPUAffinity` is not supported: limit the processors of the container",
        ));
    }
    super::check_terminal(process.terminal, &stdio)?;
    super::check_streams(&stdio)?;
    let last = capability::last();
    // In a new user namespace a process has every capability, whatever the runtime itself has.
    let available = if userns { u64::MAX } else { capability::available() };
    let wanted = process.capabilities.clone().unwrap_or_default();
    let (capabilities, lacking) = CapabilitySets::from_spec(&wanted, available, last);
    if !lacking.is_empty() {
        warnings.push(format!("this runtime cannot give {}", lacking.join(", ")));
    }
    check_capabilities(&wanted)?;
    let has_home = process.env.iter().any(|variable| variable.len() > 5 && variable.starts_with("HOME="));
    let environment: Vec<_> =
        process.env.iter().filter(|variable| has_home || !variable.starts_with("HOME=")).cloned().collect();
    Ok(ProcessPlan {
        candidates: candidates(program, &process.env).iter().map(c_string).collect::<Result<_, _>>()?,
        program: 0,
        argv: strings(&process.args)?,
        envp: strings(&environment)?,
        home: (!has_home).then(|| {
            let mut buffer = Vec::with_capacity(HOME);
            buffer.extend_from_slice(b"HOME=");
            buffer
        }),
        cwd: c_string(&process.cwd)?,
        in_cwd: false,
        uid: process.user.uid,
        gid: process.user.gid,
        groups: process.user.additional_gids.iter().map(|&gid| rustix::process::Gid::from_raw(gid)).collect(),
        umask: process.user.umask.unwrap_or(0o022),
        capabilities,
        no_new_privileges: process.no_new_privileges,
        limits: limits::plan(&process.rlimits)?,
        early_limits: Vec::new(),
        seccomp: filter.cloned(),
        filter_early: false,
        personality: linux.personality.as_ref().map(personality).transpose()?,
        schedule: process.scheduler.as_ref().map(schedule).transpose()?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        label: label(process)?,
        keyring: None,
        stdio,
        preserve_fds: 0,
        die_with_parent: false,
        release: None,
        wait: true,
        state: vec![0; channel::MESSAGE + 1],
        awaits: false,
        kept_at_birth: Kept::default(),
        kept: Kept::default(),
    })
}

/// Whether the kernel has AppArmor in force.
fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the kernel has SELinux in force.
fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Where a program may be: as it is named if that has a slash, else in the directories of `PATH`.
fn candidates(program: &str, environment: &[String]) -> Vec<String> {
    if program.contains('/') {
        return vec![program.to_owned()];
    }
    let path = environment
        .iter()
        .find_map(|variable| variable.strip_prefix("PATH="))
        .filter(|path| !path.is_empty())
        .unwrap_or(crate::defaults::PATH);
    path.split(':')
        .map(|directory| if directory.is_empty() { "." } else { directory.trim_end_matches('/') })
        .map(|directory| format!("{directory}/{program}"))
        .collect()
}

/// A name that is no capability at all is a mistake, not something this host lacks.
fn check_capabilities(capabilities: &Capabilities) -> Result<(), ProcessError> {
    let all = [
        &capabilities.bounding,
        &capabilities.effective,
        &capabilities.inheritable,
        &capabilities.permitted,
        &capabilities.ambient,
    ];
    match all.into_iter().flatten().find(|name| !name.starts_with("CAP_")) {
        Some(name) => Err(ProcessError::invalid(format!("`{name}` is not a capability"))),
        None => Ok(()),
    }
}

/// Security labels: asked for where the kernel has no such module, the container is refused.
fn label(process: &Process) -> Result<Option<LabelPlan>, ProcessError> {
    let profile =
        process.apparmor_profile.as_deref().filter(|name| !name.is_empty() && *name != "unconfined");
    let label = process.selinux_label.as_deref().filter(|label| !label.is_empty());
    match (profile, label) {
        (Some(_), Some(_)) => {
            Err(ProcessError::invalid("a process cannot have an AppArmor profile and an SELinux label"))
        }
        (Some(profile), None) if !has_apparmor() => Err(ProcessError::invalid(format!(
            "AppArmor profile `{profile}`: apparmor: config provided but apparmor not supported"
        ))),
        (Some(profile), None) => Ok(Some(LabelPlan {
            file: c_string("thread-self/attr/apparmor/exec")?,
            file_of_old: Some(c_string("thread-self/attr/exec")?),
            order: format!("exec {profile}").into_bytes(),
            text: format!("the AppArmor profile `{profile}`, which must be loaded"),
        })),
        (None, Some(label)) if !has_selinux() => Err(ProcessError::invalid(format!(
            "SELinux label `{label}`: selinux label is specified in config, but selinux is disabled or not supported"
        ))),
        (None, Some(label)) => Ok(Some(LabelPlan {
            file: c_string("thread-self/attr/exec")?,
            file_of_old: None,
            order: label.as_bytes().to_vec(),
            text: format!("the SELinux label `{label}`"),
        })),
        (None, None) => Ok(None),
    }
}

fn personality(personality: &Personality) -> Result<u64, ProcessError> {
    match personality.domain.as_str() {
        "LINUX" => Ok(0),
        "LINUX32" => Ok(8),
        other => Err(ProcessError::invalid(format!("unknown execution domain `{other}`"))),
    }
}

fn schedule(scheduler: &Scheduler) -> Result<Schedule, ProcessError> {
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(ProcessError::invalid(format!("unknown scheduling policy `{other}`"))),
    };
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(ProcessError::invalid(format!("unknown scheduling flag `{other}`"))),
        };
    }
    let priority = u32::try_from(scheduler.priority).map_err(|_| {
        ProcessError::invalid(format!("scheduling priority {} is negative", scheduler.priority))
    })?;
    Ok(Schedule {
        size: 0,
        policy,
        flags,
        nice: scheduler.nice,
        priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    })
}

fn io_priority(priority: &IoPriority) -> Result<(u16, u16), ProcessError> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(ProcessError::invalid(format!("unknown class of disk priority `{other}`"))),
    };
    match u16::try_from(priority.priority) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(ProcessError::invalid(format!("disk priority {} is not 0 to 7", priority.priority))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_up_in_its_own_path() {
        let environment = ["PATH=/bin:/opt/x/".to_owned()];
        assert_eq!(candidates("sh", &environment), ["/bin/sh", "/opt/x/sh"]);
        assert_eq!(candidates("./sh", &environment), ["./sh"]);
        assert!(candidates("sh", &[]).contains(&"/usr/bin/sh".to_owned()));
    }

    #[test]
    fn a_label_that_this_kernel_cannot_enforce_is_refused() {
        let process = Process { apparmor_profile: Some("docker-default".to_owned()), ..Process::default() };
        assert_eq!(label(&process).is_err(), !has_apparmor());
        let process = Process { apparmor_profile: Some("unconfined".to_owned()), ..Process::default() };
        assert!(label(&process).is_ok_and(|label| label.is_none()));
        let process = Process { selinux_label: Some("a:b:c:s0".to_owned()), ..Process::default() };
        assert_eq!(label(&process).is_err(), !has_selinux());
    }
}

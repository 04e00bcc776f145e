//! `exec`.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::arguments::{Arguments, UsageError};
use super::descriptors::PassedOn;
use super::state::StateError;
use super::{CliError, Context, Messages, create, terminal};
use crate::launch::{self, Joining, ProcessError};
use crate::spec::{Capabilities, Process, Spec, Status};

/// What `exec` is told.
#[derive(Debug, Default)]
struct Options {
    id: String,
    args: Vec<String>,
    process: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    preserve_fds: u32,
    detach: bool,
    tty: bool,
    ignore_paused: bool,
    cwd: Option<PathBuf>,
    env: Vec<String>,
    user: Option<(u32, Option<u32>)>,
    groups: Vec<u32>,
    capabilities: Vec<String>,
    no_new_privileges: bool,
    apparmor: Option<String>,
    label: Option<String>,
}

pub(super) fn exec(context: &Context, args: Arguments<'_>, messages: &Messages) -> Result<u8, CliError> {
    let options = parse(args)?;
    let saved = context.load(&options.id)?;
    let spec = context.load_spec(&options.id)?;
    let target = saved.hold().ok_or_else(|| StateError::NotRunning(options.id.clone(), Status::Stopped))?;
    match saved.status(context) {
        Status::Paused if !options.ignore_paused => {
            return Err(CliError::Refused(format!("container `{}` is paused", options.id)));
        }
        _ => {}
    }
    let process = process(&options, &spec)?;
    let filter = spec
        .linux
        .as_ref()
        .and_then(|linux| linux.seccomp.as_ref())
        .map(crate::seccomp::compile)
        .transpose()
        .map_err(ProcessError::Seccomp)?;
    let console = create::console(options.console_socket.as_deref())?;
    if process.terminal && console.is_none() && options.detach {
        return Err(CliError::Refused("a process with a terminal needs --console-socket".to_owned()));
    }
    let mut started = launch::join(Joining {
        process: &process,
        filter: filter.as_ref(),
        target: target.as_fd(),
        target_pid: saved.pid,
        cgroup: &saved.cgroup()?,
        stdio: if process.terminal { launch::Stdio::Terminal } else { launch::Stdio::Inherit },
        die_with_parent: false,
        preserve_fds: options.preserve_fds,
    })?;
    for warning in &started.warnings {
        messages.warn(warning);
    }
    create::write_pid(options.pid_file.as_deref(), started.pid)?;
    if let (Some(console), Some(outer)) = (console, &started.terminal) {
        terminal::hand_over(&console, outer)
            .map_err(|error| CliError::system("hand the terminal over", error))?;
        started.terminal = None;
    }
    if options.detach {
        return Ok(0);
    }
    terminal::wait(&started.pidfd, started.terminal.take())
        .map_err(|error| CliError::system("relay the terminal", error))?;
    Ok(create::exit_code(waitid(WaitId::PidFd(started.pidfd.as_fd()), WaitIdOptions::EXITED)))
}

fn parse(mut args: Arguments<'_>) -> Result<Options, CliError> {
    let mut options = Options::default();
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "process" | "p" => options.process = Some(args.value()?.into()),
            "pid-file" => options.pid_file = Some(args.value()?.into()),
            "console-socket" => options.console_socket = Some(args.value()?.into()),
            "preserve-fds" => {
                let text = args.text()?;
                options.preserve_fds = text.parse().map_err(|_| UsageError::Value("preserve-fds", text))?;
            }
            "detach" | "d" => options.detach = args.switch()?,
            "tty" | "t" => options.tty = args.switch()?,
            "ignore-paused" => options.ignore_paused = args.switch()?,
            "cwd" => options.cwd = Some(args.value()?.into()),
            "env" | "e" => options.env.push(args.text()?),
            "user" | "u" => options.user = Some(user(&args.text()?)?),
            "additional-gids" | "g" => {
                let text = args.text()?;
                options.groups.push(text.parse().map_err(|_| UsageError::Value("additional-gids", text))?);
            }
            "cap" | "c" => options.capabilities.push(args.text()?),
            "no-new-privs" => options.no_new_privileges = args.switch()?,
            "apparmor" => options.apparmor = Some(args.text()?),
            "process-label" => options.label = Some(args.text()?),
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    options.id = args.positional()?;
    options.preserve_fds = PassedOn::find(options.preserve_fds, false)?.count;
    // What follows the container's name is the process's own, its dashes too.
    options.args = args.remaining()?;
    if options.args.first().is_some_and(|first| first == "--") {
        options.args.remove(0);
    }
    Ok(options)
}

/// What is run: as the file says, or the container's own process with other arguments.
fn process(options: &Options, spec: &Spec) -> Result<Process, CliError> {
    let own = spec.process.clone().unwrap_or_default();
    if let Some(path) = &options.process {
        let mut process = Process::load(path)?;
        // What the file leaves open is as in the container: nobody gains rights by joining it.
        process.capabilities = process.capabilities.or(own.capabilities);
        process.apparmor_profile = process.apparmor_profile.or(own.apparmor_profile);
        process.selinux_label = process.selinux_label.or(own.selinux_label);
        if process.rlimits.is_empty() {
            process.rlimits = own.rlimits;
        }
        // Nor outlives it when memory runs out.
        process.oom_score_adj = process.oom_score_adj.or(own.oom_score_adj);
        process.terminal |= options.tty;
        return Ok(process);
    }
    let mut process = Process { args: options.args.clone(), terminal: options.tty, ..own };
    process.env.extend(options.env.iter().cloned());
    if let Some(cwd) = &options.cwd {
        process.cwd.clone_from(cwd);
    }
    if let Some((uid, gid)) = options.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&options.groups);
    process.no_new_privileges |= options.no_new_privileges;
    if !options.capabilities.is_empty() {
        let capabilities = process.capabilities.get_or_insert_with(Capabilities::default);
        for set in [&mut capabilities.bounding, &mut capabilities.effective, &mut capabilities.permitted] {
            set.extend(options.capabilities.iter().cloned());
        }
    }
    process.apparmor_profile = options.apparmor.clone().or(process.apparmor_profile);
    process.selinux_label = options.label.clone().or(process.selinux_label);
    Ok(process)
}

fn user(text: &str) -> Result<(u32, Option<u32>), UsageError> {
    let wrong = || UsageError::Value("user", text.to_owned());
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    Ok((uid.parse().map_err(|_| wrong())?, gid))
}

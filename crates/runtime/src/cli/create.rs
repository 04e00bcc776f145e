//! `create`, `run` and `spec`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base::Clock;
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, openat};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::arguments::{Arguments, UsageError};
use super::descriptors::PassedOn;
use super::state::{START_PIPE, Saved};
use super::{CliError, Context, Messages, delete, start, terminal};
use crate::Rootfs;
use crate::cgroup::Cgroup;
use crate::launch::{self, Container, Inherited, Making, ProcessError, Started};
use crate::spec::{Spec, SpecError};

/// What `create` and `run` are told.
#[derive(Debug, Default)]
struct Options {
    id: String,
    bundle: Option<PathBuf>,
    pid_file: Option<PathBuf>,
    console_socket: Option<PathBuf>,
    passed_on: PassedOn,
    no_pivot: bool,
    no_new_keyring: bool,
    detach: bool,
    keep: bool,
}

/// A container just made.
struct Made {
    saved: Saved,
    started: Started,
    pending: Making,
}

pub(super) fn create(context: &Context, args: Arguments<'_>, messages: &Messages) -> Result<u8, CliError> {
    let options = parse(args)?;
    make(context, &options, messages, true)?;
    Ok(0)
}

pub(super) fn run(context: &Context, args: Arguments<'_>, messages: &Messages) -> Result<u8, CliError> {
    let options = parse(args)?;
    let mut made = make(context, &options, messages, false)?;
    if let Err(error) = made.pending.release_and_wait() {
        let _ = delete::remove(context, &made.saved);
        return Err(error.into());
    }
    start::poststart(context, &made.saved)?;
    if options.detach {
        return Ok(0);
    }
    let relayed = terminal::wait(&made.started.pidfd, made.started.terminal.take());
    let status = waitid(WaitId::PidFd(made.started.pidfd.as_fd()), WaitIdOptions::EXITED);
    if !options.keep {
        delete::remove(context, &made.saved)?;
    }
    relayed.map_err(|error| CliError::system("relay the terminal", error))?;
    Ok(exit_code(status))
}

pub(super) fn spec(mut args: Arguments<'_>) -> Result<u8, CliError> {
    let mut bundle = PathBuf::from(".");
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "bundle" | "b" => bundle = args.value()?.into(),
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    args.end()?;
    let path = bundle.join("config.json");
    if path.exists() {
        return Err(CliError::Refused(format!("`{}` is already there", path.display())));
    }
    let bytes = serde_json::to_vec_pretty(&crate::defaults::spec()).expect("a spec has only string keys");
    std::fs::write(&path, bytes).map_err(|source| SpecError::Write { path, source })?;
    Ok(0)
}

/// What a process that has ended makes this program's exit code.
pub(super) fn exit_code(status: rustix::io::Result<Option<rustix::process::WaitIdStatus>>) -> u8 {
    let Ok(Some(status)) = status else { return 255 };
    let code = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255);
    u8::try_from(code).unwrap_or(255)
}

/// Writes a process's number where the caller wants it.
pub(super) fn write_pid(path: Option<&Path>, pid: u32) -> Result<(), CliError> {
    let Some(path) = path else { return Ok(()) };
    base::fs::write_atomic_unsynced(path, pid.to_string().as_bytes(), 0o644)
        .map_err(|error| CliError::system(format!("write `{}`", path.display()), error))
}

/// Connects to whoever takes the terminal, before there is one.
pub(super) fn console(path: Option<&Path>) -> Result<Option<UnixStream>, CliError> {
    path.map(|path| {
        UnixStream::connect(path).map_err(|error| {
            CliError::system(format!("connect to console socket `{}`", path.display()), error)
        })
    })
    .transpose()
}

fn parse(mut args: Arguments<'_>) -> Result<Options, CliError> {
    let mut options = Options::default();
    let mut preserved = 0;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "bundle" | "b" => options.bundle = Some(args.value()?.into()),
            "pid-file" => options.pid_file = Some(args.value()?.into()),
            "console-socket" => options.console_socket = Some(args.value()?.into()),
            "preserve-fds" => {
                let text = args.text()?;
                preserved = text.parse().map_err(|_| UsageError::Value("preserve-fds", text))?;
            }
            "no-pivot" => options.no_pivot = args.switch()?,
            "no-new-keyring" => options.no_new_keyring = args.switch()?,
            "detach" | "d" => options.detach = args.switch()?,
            "keep" => options.keep = args.switch()?,
            "no-subreaper" => drop(args.switch()?),
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    options.id = args.positional()?;
    args.end()?;
    options.passed_on = PassedOn::find(preserved, true)?;
    Ok(options)
}

/// Makes a container; `parted` if another command will start it.
fn make(context: &Context, options: &Options, messages: &Messages, parted: bool) -> Result<Made, CliError> {
    if context.systemd_cgroup {
        let text =
            "--systemd-cgroup is not supported: configure the engine to manage cgroups by itself (cgroupfs)";
        return Err(CliError::Refused(text.to_owned()));
    }
    let bundle = options.bundle.clone().unwrap_or_else(|| PathBuf::from("."));
    let bundle = std::fs::canonicalize(&bundle)
        .map_err(|error| CliError::system(format!("find bundle `{}`", bundle.display()), error))?;
    let spec = Spec::load(&bundle.join("config.json"))?;
    let directory = context.reserve(&options.id)?;
    let made = make_reserved(context, options, messages, &bundle, spec, &directory, parted);
    if made.is_err() {
        // Nothing half-made is left behind.
        let _ = std::fs::remove_dir_all(&directory);
    }
    made
}

fn make_reserved(
    context: &Context,
    options: &Options,
    messages: &Messages,
    bundle: &Path,
    spec: Spec,
    directory: &Path,
    parted: bool,
) -> Result<Made, CliError> {
    let root =
        spec.root.as_ref().ok_or_else(|| CliError::Refused("the configuration has no `root`".to_owned()))?;
    let rootfs = bundle.join(&root.path);
    let linux = spec.linux.as_ref();
    let filter = linux
        .and_then(|linux| linux.seccomp.as_ref())
        .map(crate::seccomp::compile)
        .transpose()
        .map_err(ProcessError::Seccomp)?;
    let path = linux
        .and_then(|linux| linux.cgroups_path.clone())
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("/gantry").join(&options.id));
    let cgroup = Cgroup::at(&path)?;
    let terminal = spec.process.as_ref().is_some_and(|process| process.terminal);
    let console = console(options.console_socket.as_deref())?;
    if terminal && console.is_none() && (parted || options.detach) {
        return Err(CliError::Refused("a container with a terminal needs --console-socket".to_owned()));
    }
    let release = if parted { Some(start_pipe(&directory.join(START_PIPE))?) } else { None };
    let mut launched_spec = spec.clone();
    if let Some(process) = &mut launched_spec.process {
        process.env.extend(options.passed_on.environment());
    }
    let launched = cgroup
        .create()
        .and_then(|()| cgroup.apply(&crate::defaults::limits(&spec)))
        .map_err(CliError::from)
        .and_then(|()| {
            let container = Container {
                id: &options.id,
                spec: &launched_spec,
                bundle,
                rootfs: &Rootfs::Path(rootfs.clone()),
                filter: filter.as_ref(),
                cgroup: &cgroup,
                stdio: if terminal { launch::Stdio::Terminal } else { launch::Stdio::Inherit },
                inherited: Inherited::default(),
                die_with_parent: false,
                preserve_fds: options.passed_on.count,
                no_pivot: options.no_pivot,
                no_new_keyring: options.no_new_keyring,
                given: None,
                release,
            };
            Ok(launch::create(container)?)
        });
    let (mut started, pending) = launched.inspect_err(|_| drop(cgroup.remove()))?;
    for warning in &started.warnings {
        messages.warn(warning);
    }
    let process = (started.pid, started.start_time);
    let saved = Saved::new(&options.id, bundle, &rootfs, process, context.clock.now(), &path);
    let finished = saved
        .save(directory, &spec)
        .and_then(|()| match (console, &started.terminal) {
            (Some(console), Some(outer)) => terminal::hand_over(&console, outer)
                .map_err(|error| CliError::system("hand the terminal over", error)),
            _ => Ok(()),
        })
        .and_then(|()| write_pid(options.pid_file.as_deref(), started.pid));
    if let Err(error) = finished {
        let _ = delete::remove(context, &saved);
        return Err(error);
    }
    if options.console_socket.is_some() {
        started.terminal = None;
    }
    Ok(Made { saved, started, pending })
}

/// The pipe at which the first process waits. It holds both ends, so that the one who opens it to
/// write finds out whether it still lives.
fn start_pipe(path: &Path) -> Result<OwnedFd, CliError> {
    let failed = |source: io::Error| CliError::system(format!("make `{}`", path.display()), source);
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
        .map_err(|error| failed(error.into()))?;
    openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(|error| failed(error.into()))
}

//! The OCI runtime's command line, with the commands and flags that runc and crun have, so that
//! podman, containerd and others can use it as theirs.
//!
//! State is kept below `--root`, one directory per container: `state.json`, the configuration as it
//! was when the container was made, and, until it is started, a named pipe that its first process
//! waits at.

mod arguments;
mod create;
mod delete;
mod descriptors;
mod exec;
mod kill;
mod list;
mod ps;
mod resume;
mod start;
mod state;
mod terminal;
mod update;

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use base::error::chain;
use base::{Clock, SystemClock};

use arguments::{Arguments, UsageError};

const USAGE: &str = "\
usage: gantry runtime [--root DIR] [--log FILE] [--log-format text|json] COMMAND

commands:
  create   make a container from a bundle: [--bundle DIR] [--pid-file FILE] [--console-socket SOCKET] ID
  start    start the program of a created container: ID
  run      create, start, wait, delete: [--bundle DIR] [--detach] [--keep] ID
  state    print a container's state as JSON: ID
  kill     send a signal: [--all] ID [SIGNAL]
  delete   forget a stopped container: [--force] ID
  exec     run a further process: [--process FILE] [--detach] [--tty] ID [COMMAND...]
  list     print all containers: [--quiet] [--format table|json]
  ps       print a container's processes: [--format table|json] ID
  pause    freeze a container's processes: ID
  resume   let them go on: ID
  update   change limits: [--resources FILE] ID
  spec     write a configuration to start from: [--bundle DIR]
  features print what this runtime can do, as JSON
";

/// What every command gets.
#[derive(Debug)]
struct Context {
    /// Where state is kept.
    root: PathBuf,
    /// Whether cgroup paths are meant for systemd.
    systemd_cgroup: bool,
    clock: SystemClock,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Usage(#[from] UsageError),
    #[error(transparent)]
    State(#[from] state::StateError),
    #[error(transparent)]
    Spec(#[from] crate::spec::SpecError),
    #[error(transparent)]
    Process(#[from] crate::launch::ProcessError),
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    #[error("{what}")]
    System { what: String, source: std::io::Error },
    #[error("{0}")]
    Refused(String),
}

impl CliError {
    fn system(what: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { what: what.into(), source: source.into() }
    }
}

/// Where messages go besides standard error.
#[derive(Debug, Default)]
struct Messages {
    file: Option<PathBuf>,
    json: bool,
    /// What is being done.
    command: String,
}

/// The program `gantry runtime …`; `args` are those after `runtime`.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut messages = Messages::default();
    // What is cloned into a container from here on must not be traced from inside before its exec.
    let forbidden =
        crate::sys::process::forbid_tracing().map_err(|error| CliError::system("forbid tracing", error));
    match forbidden.and_then(|()| run(&args, &mut messages)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let text = format!("{}{}", messages.prefix(&error), chain(&error));
            messages.write("error", &text);
            eprintln!("gantry runtime: {text}");
            if matches!(error, CliError::Usage(_)) {
                eprint!("{USAGE}");
                return ExitCode::from(2);
            }
            // As the one that other programs are written for: what a process ends with is no less.
            if messages.command == "exec" { ExitCode::from(255) } else { ExitCode::FAILURE }
        }
    }
}

fn run(all: &[OsString], messages: &mut Messages) -> Result<u8, CliError> {
    let mut args = Arguments::new(all);
    let mut root = PathBuf::from("/run/gantry/runtime");
    let mut systemd_cgroup = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "root" => root = args.value()?.into(),
            "log" => messages.file = Some(args.value()?.into()),
            "log-format" => {
                messages.json = match args.text()?.as_str() {
                    "json" => true,
                    "text" => false,
                    other => return Err(UsageError::Value("log-format", other.to_owned()).into()),
                }
            }
            "systemd-cgroup" => systemd_cgroup = args.switch()?,
            "debug" => drop(args.switch()?),
            // Whether it runs with rights is seen, not told.
            "rootless" | "log-level" | "criu" => drop(args.value()?),
            "help" | "h" => {
                print!("{USAGE}");
                return Ok(0);
            }
            "version" | "v" => {
                print_version();
                return Ok(0);
            }
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    let context = Context { root, systemd_cgroup, clock: SystemClock::new() };
    let command = args.positional()?;
    messages.command.clone_from(&command);
    match command.as_str() {
        "create" => sealed(all, || create::create(&context, args, messages)),
        "run" => sealed(all, || create::run(&context, args, messages)),
        "exec" => sealed(all, || exec::exec(&context, args, messages)),
        "start" => start::start(&context, args),
        "state" => list::state(&context, args),
        "kill" => kill::kill(&context, args),
        "delete" => delete::delete(&context, args),
        "list" => list::list(&context, args),
        "ps" => ps::ps(&context, args),
        "pause" => resume::set_paused(&context, args, true),
        "resume" => resume::set_paused(&context, args, false),
        "update" => update::update(&context, args),
        "spec" => create::spec(args),
        "features" => {
            args.end()?;
            println!("{:#}", crate::features::features());
            Ok(0)
        }
        "help" => {
            print!("{USAGE}");
            Ok(0)
        }
        _ => Err(UsageError::Command(command).into()),
    }
}

/// Runs `command` from a copy of the program that nobody can write to: what a container's process
/// is before its exec must never be a way to the host's program (CVE-2019-5736).
fn sealed(all: &[OsString], command: impl FnOnce() -> Result<u8, CliError>) -> Result<u8, CliError> {
    let failed = |source| CliError::system("seal the runtime's program", source);
    if crate::sealed::is_sealed().map_err(failed)? {
        return command();
    }
    let program = crate::sealed::program(None).map_err(failed)?;
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_else(|| "gantry".into());
    // What stood before the arguments of this command line: `runtime`.
    let before = args.len() - all.len();
    let error = Command::new(program.path()).arg0(name).args(args.by_ref().take(before)).args(all).exec();
    Err(failed(error))
}

impl Messages {
    /// What stands before the reason why a process could not be started. Engines cut their own messages out of
    /// what a runtime says, and find there whether the program is missing: the words are those of runc.
    fn prefix(&self, error: &CliError) -> &'static str {
        match (self.command.as_str(), error) {
            ("create", CliError::Process(_)) => {
                "runc create failed: unable to start container process: error during container init: "
            }
            ("run", CliError::Process(_)) => {
                "runc run failed: unable to start container process: error during container init: "
            }
            ("exec", CliError::Process(_)) => "exec failed: unable to start container process: ",
            _ => "",
        }
    }

    /// Writes a message to the log, if there is one.
    fn write(&self, level: &str, text: &str) {
        let Some(path) = &self.file else { return };
        let time = SystemClock::new().now();
        let line = if self.json {
            serde_json::json!({ "level": level, "msg": text, "time": time.to_string() }).to_string()
        } else {
            format!("time=\"{time}\" level={level} msg={text:?}")
        };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        // There is nowhere left to complain that the log cannot be written.
        let _ = file.and_then(|mut file| writeln!(file, "{line}"));
    }

    fn warn(&self, text: &str) {
        self.write("warning", text);
    }
}

fn print_version() {
    println!("gantry runtime version {}", env!("CARGO_PKG_VERSION"));
    println!("spec: {}", crate::spec::VERSION);
}

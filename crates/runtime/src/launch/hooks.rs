//! Hooks that run in the runtime's own namespaces.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::ProcessError;
use crate::spec::Hook;

/// Runs hooks one after another with `state` on their standard input; the first that fails ends it.
pub(crate) fn run_all(hooks: &[Hook], state: &[u8], bundle: &Path) -> Result<(), ProcessError> {
    hooks.iter().try_for_each(|hook| run(hook, state, bundle))
}

fn run(hook: &Hook, state: &[u8], bundle: &Path) -> Result<(), ProcessError> {
    let path = hook.path.display().to_string();
    if !hook.path.is_absolute() {
        return Err(ProcessError::invalid(format!("hook `{path}` is not an absolute path")));
    }
    let failed = |what: &str, source| ProcessError::Host { what: format!("{what} hook `{path}`"), source };
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    command.current_dir(bundle).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed("start", error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input.
        let _ = stdin.write_all(state);
    }
    if let Some(seconds) = hook.timeout.filter(|&seconds| seconds > 0) {
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed("watch", error.into()))?;
        let timeout = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)], Some(&timeout));
        if ready == Ok(0) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(ProcessError::Hook { path, reason: format!("took longer than {seconds} s") });
        }
    }
    let status = child.wait().map_err(|error| failed("wait for", error))?;
    if status.success() {
        Ok(())
    } else {
        Err(ProcessError::Hook { path, reason: format!("failed: {status}") })
    }
}

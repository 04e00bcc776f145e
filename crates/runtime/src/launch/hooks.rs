//! Hooks that run in the runtime's own namespaces.

use std::collections::VecDeque;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;

use super::ProcessError;
use crate::spec::Hook;

/// Runs hooks one after another with `state` on their standard input; the first that fails ends it.
pub(crate) fn run_all(hooks: &[Hook], state: &[u8], bundle: &Path) -> Result<(), ProcessError> {
    let mut run = HookRun::new(hooks.iter().cloned(), state, bundle);
    while !run.step()? {
        let timeout = run.deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        if let Some(pidfd) = run.pidfd() {
            // Interrupted, late or ended: the next step finds out.
            let _ = poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], timeout.as_ref());
        }
    }
    Ok(())
}

/// Hooks that run one after another, while whoever began them does something else.
#[derive(Debug)]
pub(crate) struct HookRun {
    waiting: VecDeque<Hook>,
    state: Vec<u8>,
    bundle: PathBuf,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    path: String,
    child: Child,
    pidfd: OwnedFd,
    limit: Option<(Instant, i64)>,
}

impl HookRun {
    /// Hooks to be run in `bundle` with `state` on their standard input.
    pub(crate) fn new(hooks: impl IntoIterator<Item = Hook>, state: &[u8], bundle: &Path) -> Self {
        Self {
            waiting: hooks.into_iter().collect(),
            state: state.to_owned(),
            bundle: bundle.to_owned(),
            current: None,
        }
    }

    /// Starts what can be started; `true` once all have run. After an error, which tells of one
    /// hook, a further step goes on with the next.
    pub(crate) fn step(&mut self) -> Result<bool, ProcessError> {
        loop {
            if let Some(mut current) = self.current.take() {
                let path = current.path.clone();
                match current.child.try_wait() {
                    Ok(Some(status)) if status.success() => {}
                    Ok(Some(status)) => {
                        return Err(ProcessError::Hook { path, reason: format!("failed: {status}") });
                    }
                    Ok(None) => match current.limit {
                        Some((deadline, seconds)) if deadline <= Instant::now() => {
                            end(&mut current.child);
                            let reason = format!("took longer than {seconds} s");
                            return Err(ProcessError::Hook { path, reason });
                        }
                        _ => {
                            self.current = Some(current);
                            return Ok(false);
                        }
                    },
                    Err(error) => return Err(failed("wait for", &path, error)),
                }
            }
            let Some(hook) = self.waiting.pop_front() else { return Ok(true) };
            self.current = Some(start(&hook, &self.state, &self.bundle)?);
        }
    }

    /// Becomes readable when there is a step to be taken.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.current.as_ref().map(|current| current.pidfd.as_fd())
    }

    /// When there is a step to be taken at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.current.as_ref().and_then(|current| current.limit).map(|(deadline, _)| deadline)
    }
}

impl Drop for HookRun {
    fn drop(&mut self) {
        if let Some(current) = &mut self.current {
            end(&mut current.child);
        }
    }
}

fn start(hook: &Hook, state: &[u8], bundle: &Path) -> Result<Current, ProcessError> {
    let path = hook.path.display().to_string();
    if !hook.path.is_absolute() {
        return Err(ProcessError::invalid(format!("hook `{path}` is not an absolute path")));
    }
    let stdin = input(state).map_err(|error| failed("prepare the input of", &path, error))?;
    let mut command = Command::new(&hook.path);
    if let Some((name, args)) = hook.args.split_first() {
        command.arg0(name).args(args);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    command.current_dir(bundle).stdin(stdin);
    let mut child = command.spawn().map_err(|error| failed("start", &path, error))?;
    let pidfd = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            end(&mut child);
            return Err(failed("watch", &path, error.into()));
        }
    };
    let limit = hook.timeout.filter(|&seconds| seconds > 0).and_then(|seconds| {
        Some((Instant::now().checked_add(Duration::from_secs(seconds as u64))?, seconds))
    });
    Ok(Current { path, child, pidfd, limit })
}

/// A file of memory with the state: unlike a pipe it takes all at once, read or not.
fn input(state: &[u8]) -> io::Result<Stdio> {
    let mut file = std::fs::File::from(memfd_create(c"state", MemfdFlags::CLOEXEC)?);
    file.write_all(state)?;
    file.rewind()?;
    Ok(file.into())
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn failed(what: &str, path: &str, source: io::Error) -> ProcessError {
    ProcessError::Host { what: format!("{what} hook `{path}`"), source }
}

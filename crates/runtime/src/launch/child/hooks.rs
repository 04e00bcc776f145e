//! Hooks that run inside the container's namespaces.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, waitid};
use rustix::time::Timespec;

use super::super::channel::{Failed, Tried};
use super::super::plan::HookPlan;
use crate::sys::clone::{exit_now, fork};
use crate::sys::{exec, signal};

/// Runs hooks one after another; the first that fails ends the container.
pub(super) fn run_all(hooks: &[HookPlan], state: &[u8]) -> Result<(), Failed> {
    hooks.iter().try_for_each(|hook| run(hook, state))
}

fn run(hook: &HookPlan, state: &[u8]) -> Result<(), Failed> {
    let text = &hook.text;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).tried(format_args!("make a pipe for hook `{text}`"))?;
    // SAFETY: this process has one thread, and the child only makes system calls until it executes.
    let pidfd = match unsafe { fork() }.tried(format_args!("fork for hook `{text}`"))? {
        None => {
            signal::reset_all();
            // SAFETY: what was open belongs to the process that forked; this one executes or ends.
            let closed = rustix::stdio::dup2_stdin(&read).is_ok() && unsafe { exec::close_from(3) }.is_ok();
            if closed {
                exec::execve(&hook.path, &hook.argv, &hook.envp);
            }
            exit_now(127)
        }
        Some(pidfd) => pidfd,
    };
    drop(read);
    // The state fits into an empty pipe; a hook that does not read it has closed its end at most.
    let _ = rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK);
    let _ = rustix::io::write(&write, state);
    drop(write);
    let timeout = hook.timeout.map(|milliseconds| Timespec {
        tv_sec: i64::from(milliseconds / 1000),
        tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
    });
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], timeout.as_ref());
    let timed_out = ready == Ok(0);
    if timed_out {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    }
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
        .tried(format_args!("wait for hook `{text}`"))?;
    if timed_out {
        return Err(Failed::new(Errno::TIMEDOUT, format_args!("run hook `{text}`")));
    }
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(()),
        Some(code) => {
            Err(Failed::new(Errno::CANCELED, format_args!("run hook `{text}`, which ended with code {code}")))
        }
        None => Err(Failed::new(Errno::CANCELED, format_args!("run hook `{text}`, which was killed"))),
    }
}

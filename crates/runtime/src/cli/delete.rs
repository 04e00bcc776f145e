//! `delete`.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, poll};

use super::arguments::{Arguments, UsageError};
use super::state::{Saved, StateError};
use super::{CliError, Context, start};
use crate::spec::Status;
use crate::sys::signal;

pub(super) fn delete(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    let mut force = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "force" | "f" => force = args.switch()?,
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    let id = args.positional()?;
    args.end()?;
    let saved = match context.load(&id) {
        Ok(saved) => saved,
        Err(StateError::NotFound(_)) if force => {
            // What is left of a container whose making was cut off goes too.
            let _ = std::fs::remove_dir_all(context.directory(&id)?);
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    let status = saved.status(context);
    if !force && !matches!(status, Status::Stopped | Status::Created) {
        return Err(CliError::Refused(format!("container `{id}` is {status}, not stopped")));
    }
    remove(context, &saved)?;
    Ok(0)
}

/// Kills what is left of a container and forgets it.
pub(super) fn remove(context: &Context, saved: &Saved) -> Result<(), CliError> {
    let cgroup = saved.cgroup()?;
    if let Some(pidfd) = saved.hold() {
        let _ = signal::send(pidfd.as_fd(), libc::SIGKILL);
        if cgroup.is_frozen() {
            let _ = cgroup.thaw();
        }
        let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None);
    }
    if cgroup.pids().is_ok_and(|pids| !pids.is_empty()) {
        cgroup.kill_all()?;
    }
    cgroup.remove()?;
    let directory = context.directory(&saved.id)?;
    start::poststop(context, saved);
    std::fs::remove_dir_all(&directory)
        .map_err(|error| CliError::system(format!("remove `{}`", directory.display()), error))
}

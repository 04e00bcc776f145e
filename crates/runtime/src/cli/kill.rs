//! `kill`.

use std::os::fd::AsFd;

use super::arguments::{Arguments, UsageError};
use super::state::StateError;
use super::{CliError, Context};
use crate::signal::by_name;
use crate::spec::Status;
use crate::sys::signal;

pub(super) fn kill(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    let mut all = false;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "all" | "a" => all = args.switch()?,
            _ => return Err(UsageError::Flag(flag).into()),
        }
    }
    let id = args.positional()?;
    let name = args.optional()?.unwrap_or_else(|| "TERM".to_owned());
    args.end()?;
    let number = by_name(&name).ok_or_else(|| CliError::Refused(format!("there is no signal `{name}`")))?;
    let saved = context.load(&id)?;
    if all {
        let cgroup = saved.cgroup()?;
        if number == libc::SIGKILL {
            cgroup.kill_all()?
        } else {
            cgroup.signal_all(number)?
        }
        return Ok(0);
    }
    let pidfd = saved.hold().ok_or_else(|| StateError::NotRunning(id.clone(), Status::Stopped))?;
    signal::send(pidfd.as_fd(), number)
        .map_err(|error| CliError::system(format!("send {name} to container `{id}`"), error))?;
    Ok(0)
}

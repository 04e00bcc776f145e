//! `pause` and `resume`.

use super::arguments::{Arguments, UsageError};
use super::{CliError, Context};
use crate::spec::Status;

pub(super) fn set_paused(context: &Context, mut args: Arguments<'_>, paused: bool) -> Result<u8, CliError> {
    if let Some(flag) = args.flag()? {
        return Err(UsageError::Flag(flag).into());
    }
    let id = args.positional()?;
    args.end()?;
    let saved = context.load(&id)?;
    let status = saved.status(context);
    let expected = if paused { Status::Running } else { Status::Paused };
    if status != expected {
        return Err(CliError::Refused(format!("container `{id}` is {status}, not {expected}")));
    }
    let cgroup = saved.cgroup()?;
    if paused {
        cgroup.freeze()?
    } else {
        cgroup.thaw()?
    }
    Ok(0)
}

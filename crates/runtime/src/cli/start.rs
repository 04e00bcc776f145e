//! `start`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use super::arguments::Arguments;
use super::state::{START_PIPE, Saved, StateError};
use super::{CliError, Context, delete};
use crate::launch::run_hooks;
use crate::spec::{Hook, Hooks, Status};

pub(super) fn start(context: &Context, mut args: Arguments<'_>) -> Result<u8, CliError> {
    if let Some(flag) = args.flag()? {
        return Err(super::UsageError::Flag(flag).into());
    }
    let id = args.positional()?;
    args.end()?;
    let saved = context.load(&id)?;
    match saved.status(context) {
        Status::Created => {}
        Status::Stopped => return Err(StateError::NotRunning(id, Status::Stopped).into()),
        status => {
            return Err(CliError::Refused(format!("container `{id}` was started before, it is {status}")));
        }
    }
    let path = context.directory(&id)?.join(START_PIPE);
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .and_then(|mut pipe| pipe.write_all(b"1"))
        .map_err(|error| CliError::system(format!("release container `{id}`"), error))?;
    std::fs::remove_file(&path)
        .map_err(|error| CliError::system(format!("remove `{}`", path.display()), error))?;
    poststart(context, &saved)?;
    Ok(0)
}

/// Runs the hooks that follow the start; if one fails, the container ends and is forgotten.
pub(super) fn poststart(context: &Context, saved: &Saved) -> Result<(), CliError> {
    hooks(context, saved, |hooks| hooks.poststart).inspect_err(|_| {
        if let Err(error) = delete::remove(context, saved) {
            eprintln!("gantry runtime: {}", base::error::chain(&error));
        }
    })
}

/// Runs some of a container's hooks in the runtime's namespaces.
pub(super) fn hooks(
    context: &Context,
    saved: &Saved,
    which: impl FnOnce(Hooks) -> Vec<Hook>,
) -> Result<(), CliError> {
    let spec = context.load_spec(&saved.id)?;
    let Some(all) = &spec.hooks else { return Ok(()) };
    let hooks = which(all.clone());
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(&saved.state(context, &spec)).expect("a state has only string keys");
    Ok(run_hooks(&hooks, &state, &saved.bundle)?)
}

//! `start`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::event::{PollFd, PollFlags, poll};

use super::arguments::Arguments;
use super::state::{START_PIPE, Saved, StateError};
use super::{CliError, Context, delete};
use crate::launch::run_hooks;
use crate::spec::{Hook, State, Status};

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
    let failed = |error| CliError::system(format!("release container `{id}`"), error);
    let mut pipe =
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&path).map_err(failed)?;
    pipe.write_all(b"1").map_err(failed)?;
    std::fs::remove_file(&path)
        .map_err(|error| CliError::system(format!("remove `{}`", path.display()), error))?;
    // The process lets go of its end when its program takes its place: what follows the start,
    // hooks and callers, finds the program running, or gone.
    let ready = || poll(&mut [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::empty())], None);
    rustix::io::retry_on_intr(ready).map_err(|error| failed(error.into()))?;
    poststart(context, &saved)?;
    Ok(0)
}

/// Runs the hooks that follow the start; if one fails, the container ends and is forgotten.
pub(super) fn poststart(context: &Context, saved: &Saved) -> Result<(), CliError> {
    let spec = context.load_spec(&saved.id)?;
    let hooks = spec.hooks.as_ref().map_or(&[][..], |hooks| &hooks.poststart);
    // The moment that they are for; a program that is quick may have ended since.
    let state = State { status: Status::Running, pid: saved.pid as i32, ..saved.state(context, &spec) };
    run(saved, &state, hooks).inspect_err(|_| {
        if let Err(error) = delete::remove(context, saved) {
            eprintln!("gantry runtime: {}", base::error::chain(&error));
        }
    })
}

/// Runs the hooks that follow the end. Nothing can be undone any more: each runs, whatever
/// becomes of those before it.
pub(super) fn poststop(context: &Context, saved: &Saved) {
    let warn = |error: CliError| eprintln!("gantry runtime: {}", base::error::chain(&error));
    match context.load_spec(&saved.id) {
        Ok(spec) => {
            let state = saved.state(context, &spec);
            let all = spec.hooks.iter().flat_map(|hooks| &hooks.poststop);
            all.filter_map(|hook| run(saved, &state, std::slice::from_ref(hook)).err()).for_each(warn);
        }
        Err(error) => warn(error),
    }
}

/// Runs hooks in the runtime's namespaces; the first that fails ends it.
fn run(saved: &Saved, state: &State, hooks: &[Hook]) -> Result<(), CliError> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state).expect("a state has only string keys");
    Ok(run_hooks(hooks, &state, &saved.bundle)?)
}

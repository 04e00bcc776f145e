//! What the engine itself does with control groups: clearing what a dead shim left.

use std::path::Path;
use std::time::Duration;

use runtime::cgroup::Cgroup;

use crate::error::{Error, Result};
use crate::id::SandboxId;

/// How deep below the engine's own group those of its containers and sandboxes are at most.
const DEPTH: usize = 3;

/// Kills every process below `path` and removes the group; one that is not there is no error.
pub(crate) fn kill(path: &Path) -> Result<()> {
    let failed = |source: runtime::cgroup::CgroupError| {
        Error::internal(format!("clear the cgroup `{}`", path.display())).with_source(source)
    };
    let group = Cgroup::at(path).map_err(failed)?;
    if !group.exists() {
        return Ok(());
    }
    group.kill_all().map_err(failed)?;
    group.remove().map_err(failed)
}

/// Kills every process below `path`; whether none is there any more, shortly after.
pub(crate) fn end(path: &Path) -> Result<bool> {
    let failed = |source: runtime::cgroup::CgroupError| {
        Error::internal(format!("end the processes of the cgroup `{}`", path.display())).with_source(source)
    };
    let group = Cgroup::at(path).map_err(failed)?;
    for pause in [0, 1, 4, 16, 64] {
        std::thread::sleep(Duration::from_millis(pause));
        if !group.exists() || group.pids().map_err(failed)?.is_empty() {
            return Ok(true);
        }
        group.kill_all().map_err(failed)?;
    }
    Ok(false)
}

/// Removes a group that is empty, for example a sandbox's; what is left in use stays.
pub(crate) fn remove(path: &Path) {
    if let Ok(group) = Cgroup::at(path)
        && let Err(error) = group.remove()
    {
        tracing::debug!(cgroup = %path.display(), error = %base::error::chain(&error), "remove a cgroup");
    }
}

/// Removes those groups below `path`, and in those that lead to them, that are called as containers and sandboxes are
/// and are nobody's; one that has processes stays.
pub(crate) fn clear(path: &Path, is_left_over: &dyn Fn(&str) -> bool) {
    clear_below(path, is_left_over, DEPTH);
}

fn clear_below(path: &Path, is_left_over: &dyn Fn(&str) -> bool, depth: usize) {
    let Ok(group) = Cgroup::at(path) else { return };
    for name in group.children() {
        let child = path.join(&name);
        if is_left_over(&name) {
            remove(&child);
        } else if depth > 0 && SandboxId::parse(&name).is_err() {
            clear_below(&child, is_left_over, depth - 1);
        }
    }
}

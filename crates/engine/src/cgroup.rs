//! What the engine itself does with control groups: clearing what a dead shim left.

use std::path::Path;

use runtime::cgroup::Cgroup;

use crate::error::{Error, Result};

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

/// Removes a group that is empty, for example a sandbox's; what is left in use stays.
pub(crate) fn remove(path: &Path) {
    if let Ok(group) = Cgroup::at(path)
        && let Err(error) = group.remove()
    {
        tracing::debug!(cgroup = %path.display(), error = %base::error::chain(&error), "remove a cgroup");
    }
}

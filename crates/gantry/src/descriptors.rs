//! How many files this process may have open: as many as it is allowed to.
//!
//! Each container takes a few, and what a login shell or a service manager gives by default is used
//! up by a few hundred. Programs in containers get what this process began with: some lay out sets
//! of descriptors for `select(2)` by their limit, or close all that there could be.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as it goes; gives what it was, soft and hard.
pub(crate) fn raise() -> (u64, u64) {
    let before = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, ..before });
    if let Err(error) = raised {
        tracing::warn!(%error, "raise the limit of open files");
    }
    (before.current.unwrap_or(u64::MAX), before.maximum.unwrap_or(u64::MAX))
}

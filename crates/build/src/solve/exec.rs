//! Commands: a container that does what an operation says, and whose changes become layers.

mod asked;
pub(crate) mod forward;
mod key;
mod mounts;
mod run;
mod stubs;

use llb::pb::{ExecOp, NetMode, SecurityMode};

use super::job::Entitlement;
use super::schedule::{Done, Step};
use super::{SolveError, usage};

/// Mounts of one command.
const MOUNTS_MAX: usize = 512;
/// A path is shorter, with the byte that ends it, as for the kernel.
const PATH_MAX: usize = 4096;

/// Runs a command, unless that was done before.
pub(crate) async fn perform(step: &Step<'_>, exec: &ExecOp) -> Result<Done, SolveError> {
    check(step, exec)?;
    let key = key::key(step, exec).await?;
    if let Some(done) = usage::done_before(step, &key).await {
        return Ok(done);
    }
    // It matters what the client has only to who runs the command, and not to who waits for another that does.
    let asked = asked::ask(step, exec).await;
    usage::once(step, key, "regular", || async { run::run(step, exec, &asked?).await }).await
}

/// Refuses what the job may not have (CVE-2024-23653), before anything is looked up.
fn check(step: &Step<'_>, exec: &ExecOp) -> Result<(), SolveError> {
    if exec.network() == NetMode::Host {
        step.job.check_entitled(Entitlement::NetworkHost)?;
    }
    if exec.security() == SecurityMode::Insecure {
        step.job.check_entitled(Entitlement::SecurityInsecure)?;
    }
    if exec.cdi_devices.iter().any(|device| !device.optional) {
        step.job.check_entitled(Entitlement::Device)?;
        return Err(SolveError::Unsupported("devices by CDI names are not supported".to_owned()));
    }
    if NetMode::try_from(exec.network).is_err() || SecurityMode::try_from(exec.security).is_err() {
        return Err(SolveError::Unsupported(
            "an unknown sort of network or security is asked for".to_owned(),
        ));
    }
    check_mounts(exec)
}

/// Refuses more than anybody can mount.
fn check_mounts(exec: &ExecOp) -> Result<(), SolveError> {
    if exec.mounts.len() > MOUNTS_MAX {
        let count = exec.mounts.len();
        return Err(SolveError::Invalid(format!("{count} mounts of one command: there can be {MOUNTS_MAX}")));
    }
    for mount in &exec.mounts {
        let length = mount.dest.len().max(mount.selector.len());
        if length >= PATH_MAX {
            return Err(SolveError::Invalid(format!(
                "a mount's path has {length} bytes: file name too long"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use llb::pb::Mount;

    use super::*;

    #[test]
    fn more_than_anybody_can_mount_is_refused() {
        let of = |dest: &str, count| {
            let mount = Mount { dest: dest.to_owned(), ..Mount::default() };
            check_mounts(&ExecOp { mounts: vec![mount; count], ..ExecOp::default() }).is_ok()
        };
        assert!(of("/cache", MOUNTS_MAX) && of(&"/a".repeat(2047), 1));
        assert!(!of("/cache", MOUNTS_MAX + 1) && !of(&"/a".repeat(2048), 1));
        let mount = Mount { selector: "a/".repeat(32 << 10), ..Mount::default() };
        assert!(check_mounts(&ExecOp { mounts: vec![mount], ..ExecOp::default() }).is_err());
    }
}

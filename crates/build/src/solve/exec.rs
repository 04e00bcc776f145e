//! Commands: a container that does what an operation says, and whose changes become layers.

pub(crate) mod forward;
mod key;
mod mounts;
mod run;
mod stubs;

use llb::pb::{ExecOp, NetMode, SecurityMode};

use super::job::Entitlement;
use super::schedule::{Done, Step};
use super::{SolveError, usage};

/// Runs a command, unless that was done before.
pub(crate) async fn perform(step: &Step<'_>, exec: &ExecOp) -> Result<Done, SolveError> {
    check(step, exec)?;
    let key = key::key(step, exec).await?;
    usage::once(step, key, "regular", || run::run(step, exec)).await
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
    Ok(())
}

//! Bringing the kernel's table in line with ours.

use std::net::Ipv4Addr;

use super::{Inner, State};
use crate::nft::{Ruleset, Target};
use crate::plan::{self, Tables};
use crate::{KernelError, PortBinding, ServiceTable, conntrack};

/// Puts the rules for the present state into the kernel.
///
/// The table's lock is held from before the state is read until the kernel has it, so that of two
/// changes at the same time the later one is not undone by the earlier.
pub(super) fn apply(inner: &Inner) -> Result<(), KernelError> {
    let mut table = inner.table.lock();
    let ruleset = wanted(inner, &inner.state.lock());
    table.apply(ruleset).map_err(|source| failed(inner, source))
}

/// Replaces everything in the table.
pub(super) fn replace(inner: &Inner) -> Result<(), KernelError> {
    let mut table = inner.table.lock();
    let ruleset = wanted(inner, &inner.state.lock());
    table.replace(ruleset).map_err(|source| failed(inner, source))
}

/// Takes over a service table.
pub(super) fn services(inner: &Inner, services: ServiceTable) -> Result<(), KernelError> {
    let before = {
        let mut state = inner.state.lock();
        if state.services == services {
            return Ok(());
        }
        std::mem::replace(&mut state.services, services.clone())
    };
    apply(inner)?;
    conntrack::forget_services(&before, &services);
    if let Err(error) = inner.disk.services_write(&services) {
        // The kernel has them; only a restart would begin without them until they are told again.
        tracing::warn!(path = %error.path.display(), error = %error.source, "service table not kept");
    }
    Ok(())
}

fn wanted(inner: &Inner, state: &State) -> Ruleset {
    let networks: Vec<_> = state.networks.values().cloned().collect();
    let ports: Vec<(Ipv4Addr, PortBinding)> = state
        .endpoints
        .values()
        .flat_map(|endpoint| endpoint.ports.iter().map(|binding| (endpoint.address, *binding)))
        .collect();
    let names: Vec<(Ipv4Addr, Target)> =
        state.names.iter().map(|target| (inner.config.cluster_dns, *target)).collect();
    plan::ruleset(&Tables {
        networks: &networks,
        ports: &ports,
        services: &state.services,
        service_cidr: inner.config.service_cidr,
        gate: state.gate.as_ref(),
        names: &names,
        strangers: &state.strangers,
    })
}

fn failed(inner: &Inner, source: std::io::Error) -> KernelError {
    KernelError::new(format!("change nftables table `{}`", inner.config.instance), source)
}

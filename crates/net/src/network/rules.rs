//! Bringing the kernel's table in line with ours.

use std::io;
use std::net::Ipv4Addr;

use super::{Inner, State};
use crate::nft::{Ruleset, Table, Target};
use crate::plan::{self, Services, Tables};
use crate::state::ServicesLog;
use crate::{KernelError, PortBinding, ServiceTable, conntrack};

/// The services, and where what becomes of them is written down.
pub(super) struct KeptServices {
    pub(super) services: Services,
    pub(super) log: ServicesLog,
}

/// Puts the rules for the present state into the kernel, services as they were.
///
/// The table's lock is held from before the state is read until the kernel has it, so that of two
/// changes at the same time the later one is not undone by the earlier.
pub(super) fn apply(inner: &Inner) -> Result<(), KernelError> {
    let mut table = inner.table.lock();
    let ruleset = wanted(inner, &inner.state.lock());
    match table.apply(ruleset) {
        Ok(()) => Ok(()),
        Err(error) if is_damage(&error) => replace_in(inner, &mut table, &inner.services.lock().services),
        Err(source) => Err(failed(inner, source)),
    }
}

/// Replaces everything in the table.
pub(super) fn replace(inner: &Inner) -> Result<(), KernelError> {
    replace_in(inner, &mut inner.table.lock(), &inner.services.lock().services)
}

/// Makes the named services what `changes` says; if that is `all` of them, there are no others.
///
/// What it costs depends on what changes, not on how many services there are.
pub(super) fn services(inner: &Inner, changes: ServiceTable, all: bool) -> Result<(), KernelError> {
    let mut table = inner.table.lock();
    let mut guard = inner.services.lock();
    let kept = &mut *guard;
    let step = kept.services.change(changes, all);
    if step.ports.is_empty() {
        return Ok(());
    }
    let changed = match table.amend(&step.before, &step.after) {
        Err(error) if is_damage(&error) => replace_in(inner, &mut table, &kept.services),
        result => result.map_err(|source| failed(inner, source)),
    };
    if let Err(error) = changed {
        kept.services.undo(step);
        return Err(error);
    }
    drop(table);
    if let Err(error) = kept.log.append(&step.ports, kept.services.ports()) {
        // The kernel has them; only a restart would begin without them until they are told again.
        tracing::warn!(path = %error.path.display(), error = %error.source, "services not kept");
    }
    drop(guard);
    conntrack::forget_services(&step.ports);
    Ok(())
}

fn replace_in(inner: &Inner, table: &mut Table, services: &Services) -> Result<(), KernelError> {
    let ruleset = wanted(inner, &inner.state.lock());
    table.replace(ruleset, services.ruleset()).map_err(|source| failed(inner, source))
}

/// Whether somebody took a part of the table away: what was last put into it is not what it holds.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn wanted(inner: &Inner, state: &State) -> Ruleset {
    let networks: Vec<_> = state.networks().values().cloned().collect();
    let ports: Vec<(Ipv4Addr, PortBinding)> = state
        .endpoints()
        .values()
        .flat_map(|endpoint| endpoint.ports.iter().map(|binding| (endpoint.address, *binding)))
        .collect();
    let names: Vec<(Ipv4Addr, Target)> =
        state.names.iter().map(|target| (inner.config.cluster_dns, *target)).collect();
    plan::ruleset(&Tables {
        networks: &networks,
        ports: &ports,
        service_cidr: inner.config.service_cidr,
        gate: state.gate.as_ref(),
        names: &names,
        strangers: &state.strangers,
    })
}

fn failed(inner: &Inner, source: io::Error) -> KernelError {
    KernelError::new(format!("change nftables table `{}`", inner.config.instance), source)
}

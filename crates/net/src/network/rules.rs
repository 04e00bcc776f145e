//! Bringing the kernel's table in line with ours.

use std::io;
use std::net::IpAddr;

use super::{Inner, State};
use crate::nft::{IpFamily, Rulesets, Table, Target};
use crate::plan::{self, Services, Tables};
use crate::state::ServicesLog;
use crate::{Endpoint, KernelError, PortBinding, ServiceTable, conntrack, sandbox};

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
    let rulesets = wanted(inner, &inner.state.lock());
    match table.apply(rulesets) {
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
    let rulesets = wanted(inner, &inner.state.lock());
    table.replace(rulesets, services.rulesets()).map_err(|source| failed(inner, source))
}

/// Whether somebody took a part of the table away: what was last put into it is not what it holds.
fn is_damage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn wanted(inner: &Inner, state: &State) -> Rulesets {
    let networks: Vec<_> = state.networks().values().cloned().collect();
    // Each port leads to the container's address of every family.
    let led = |endpoint: &Endpoint| -> Vec<(IpAddr, PortBinding)> {
        endpoint.ips().flat_map(|ip| endpoint.ports.iter().map(move |port| (ip, *port))).collect()
    };
    let ports: Vec<_> = state.endpoints().values().flat_map(led).collect();
    let same_family =
        |address: &IpAddr, target: &Target| IpFamily::of(*address) == IpFamily::of(target.address);
    let at_cluster =
        state.names.iter().flat_map(|target| inner.config.cluster_dns.iter().map(|at| ((*at, 53), *target)));
    let gateways = || state.networks().values().filter_map(|network| inner.names_for(network));
    let at_gateways = state
        .container_names
        .iter()
        .flat_map(|target| gateways().map(|at| ((IpAddr::V4(at), sandbox::NAMES_PORT), *target)));
    let names: Vec<((IpAddr, u16), Target)> =
        at_cluster.chain(at_gateways).filter(|((address, _), target)| same_family(address, target)).collect();
    plan::rulesets(&Tables {
        families: plan::FAMILIES,
        networks: &networks,
        ports: &ports,
        service_cidrs: &inner.config.service_cidrs,
        gate: state.gate.as_ref(),
        names: &names,
        unknown: &state.unknown,
        strangers: &state.strangers,
    })
}

fn failed(inner: &Inner, source: io::Error) -> KernelError {
    KernelError::new(format!("change nftables table `{}`", inner.config.instance), source)
}

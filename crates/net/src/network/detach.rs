//! Taking a sandbox out of its networks.

use std::os::fd::AsFd;

use super::{Inner, NetworkId, State, rules};
use crate::state::StateError;
use crate::{AttachError, Endpoint, conntrack, sandbox};

/// What becomes of the ports of an endpoint whose sandbox lives on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// They lead to another of its endpoints from now on, if one has a way out.
    Moves,
    /// They are given up.
    Goes,
}

/// Takes `owner` out of `network`, where it lives on; nothing happens if it is not in it. What leads out of
/// the sandbox and into it goes on by another network that is not internal, as the first by name has it.
pub(super) fn leave(
    inner: &Inner,
    owner: &str,
    network: &NetworkId,
    published: Published,
) -> Result<(), AttachError> {
    let (endpoint, heir) = {
        let state = inner.state.lock();
        let stranded = state.stranded.iter().filter(|endpoint| endpoint.owner == owner);
        let mut mine = state.endpoints_of(owner).chain(stranded);
        let Some(endpoint) = mine.find(|endpoint| endpoint.network == *network).cloned() else {
            return Ok(());
        };
        let heir = heir(&state, &endpoint);
        (endpoint, heir)
    };
    let mut after = heir.clone().filter(|_| published == Published::Moves && !endpoint.ports.is_empty());
    if let Some(after) = &mut after {
        after.ports.extend(&endpoint.ports);
        inner.disk.endpoint_write(after).map_err(kept)?;
    }
    let write_again = |endpoint: &Endpoint| {
        if let Err(error) = inner.disk.endpoint_write(endpoint) {
            tracing::warn!(path = %error.path.display(), error = %error.source, "an endpoint that stays is not written down");
        }
    };
    let take_back = || heir.iter().filter(|_| after.is_some()).for_each(write_again);
    if let Err(error) = inner.disk.endpoint_remove(&endpoint.id) {
        take_back();
        return Err(kept(error));
    }
    // It must not reach that network any more.
    if let Err(error) = inner.driver.detach(&endpoint) {
        write_again(&endpoint);
        take_back();
        return Err(error.into());
    }
    {
        let mut state = inner.state.lock();
        state.endpoint_remove(&endpoint);
        match after {
            Some(after) => state.endpoint_insert(after),
            None => state.ports.release(&endpoint.ports),
        }
    }
    if let Some(heir) = heir {
        lead_out(inner, &heir);
    }
    forget_ports(inner, &[endpoint])
}

/// Takes `owner`, whose sandbox ends, out of all networks; nothing happens if it is in none.
pub(super) fn end(inner: &Inner, owner: &str) -> Result<(), AttachError> {
    let endpoints: Vec<Endpoint> = {
        let state = inner.state.lock();
        let stranded = state.stranded.iter().filter(|endpoint| endpoint.owner == owner);
        state.endpoints_of(owner).chain(stranded).cloned().collect()
    };
    for endpoint in &endpoints {
        // That its sandbox has ended is so whatever is written down; opening finds it out too.
        if let Err(error) = inner.disk.endpoint_remove(&endpoint.id) {
            tracing::warn!(path = %error.path.display(), error = %error.source, "an endpoint of a sandbox that has ended stays written down");
        }
        let mut state = inner.state.lock();
        state.endpoint_remove(endpoint);
        state.ports.release(&endpoint.ports);
        state.leaving.push(endpoint.clone());
    }
    if !endpoints.is_empty() {
        inner.reap.notify_one();
    }
    forget_ports(inner, &endpoints)
}

/// Has the rules know that these endpoints are gone.
fn forget_ports(inner: &Inner, gone: &[Endpoint]) -> Result<(), AttachError> {
    let ports: Vec<_> = gone.iter().flat_map(|endpoint| endpoint.ports.iter().copied()).collect();
    if !ports.is_empty() {
        rules::apply(inner)?;
        conntrack::forget_ports(&ports);
    }
    Ok(())
}

/// The endpoint that leads out of a sandbox when `gone` does not any more.
fn heir(state: &State, gone: &Endpoint) -> Option<Endpoint> {
    let others = state.endpoints_of(&gone.owner).filter(|other| other.id != gone.id);
    let named = others.filter_map(|other| Some((state.networks().get(&other.network)?, other)));
    let open = named.filter(|(network, _)| !network.internal);
    open.min_by_key(|(network, _)| &network.name).map(|(_, heir)| heir.clone())
}

/// Gives a sandbox a way out by one of its endpoints, if it has none.
fn lead_out(inner: &Inner, endpoint: &Endpoint) {
    let owner = &endpoint.owner;
    let led = match inner.pins.get(owner) {
        Ok(Some(netns)) => sandbox::lead_out(netns.as_fd(), endpoint),
        Ok(None) => {
            return tracing::debug!(owner, "no network namespace is pinned, its routes stay as they are");
        }
        Err(error) => Err(error),
    };
    if let Err(error) = led {
        tracing::warn!(owner, %error, "a sandbox that left a network has no way out by another");
    }
}

fn kept(error: StateError) -> AttachError {
    AttachError::State { path: error.path, source: error.source }
}

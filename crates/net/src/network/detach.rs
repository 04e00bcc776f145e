//! Taking a sandbox out of its networks.

use std::os::fd::AsFd;

use super::{Inner, NetworkId, rules};
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
/// the sandbox and into it goes on by its next way out (`State::way_out_of`), and its questions for names by
/// the gateway of another network in which it finds others.
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
        let heir = state.way_out_of(owner, Some(&endpoint));
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
    lead_on(inner, owner, heir.as_ref());
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

/// Has the ports that lead to `from` lead to `to`, of the same owner, which is given back with them.
pub(super) fn move_ports(inner: &Inner, from: &Endpoint, to: &Endpoint) -> Result<Endpoint, AttachError> {
    let moved: Vec<_> = from.ports.clone();
    let with = Endpoint { ports: to.ports.iter().chain(&moved).copied().collect(), ..to.clone() };
    let without = Endpoint { ports: Vec::new(), ..from.clone() };
    // A port that is written down twice would be claimed for both; one that is not, for nobody.
    inner.disk.endpoint_write(&with).map_err(kept)?;
    if let Err(error) = inner.disk.endpoint_write(&without) {
        if let Err(error) = inner.disk.endpoint_write(to) {
            tracing::warn!(path = %error.path.display(), error = %error.source, "published ports are written down twice");
        }
        return Err(kept(error));
    }
    {
        let mut state = inner.state.lock();
        state.endpoint_insert(without);
        state.endpoint_insert(with.clone());
    }
    rules::apply(inner)?;
    conntrack::forget_ports(&moved);
    Ok(with)
}

/// Gives a sandbox that has left a network its ways by those that it is still in.
fn lead_on(inner: &Inner, owner: &str, heir: Option<&Endpoint>) {
    let names = inner.state.lock().names_of(owner);
    if heir.is_none() && names.is_none() {
        return;
    }
    let led = match inner.pins.get(owner) {
        Ok(Some(netns)) => sandbox::lead_on(netns.as_fd(), heir, names),
        Ok(None) => {
            return tracing::debug!(owner, "no network namespace is pinned, its routes stay as they are");
        }
        Err(error) => Err(error),
    };
    if let Err(error) = led {
        tracing::warn!(owner, %error, "a sandbox that left a network does not get on by another");
    }
}

fn kept(error: StateError) -> AttachError {
    AttachError::State { path: error.path, source: error.source }
}

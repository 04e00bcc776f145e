//! Taking a sandbox out of its networks.

use super::{Inner, NetworkId, reap, rules};
use crate::{AttachError, Endpoint, KernelError, conntrack};

/// Takes `owner` out of `network`, or out of all; what is not there is no error.
pub(super) fn detach(inner: &Inner, owner: &str, network: Option<&NetworkId>) -> Result<(), AttachError> {
    let endpoints: Vec<Endpoint> = {
        let state = inner.state.lock();
        let mine = state.endpoints.values().filter(|endpoint| endpoint.owner == owner);
        mine.filter(|endpoint| network.is_none_or(|network| endpoint.network == *network)).cloned().collect()
    };
    for endpoint in &endpoints {
        // Out of one network only: the sandbox lives on and must not reach it any more.
        if network.is_some() {
            reap::disconnect(inner, endpoint).map_err(|source| {
                KernelError::new(format!("remove link `{}`", endpoint.host_interface), source)
            })?;
        }
        inner
            .disk
            .endpoint_remove(&endpoint.id)
            .map_err(|error| AttachError::State { path: error.path, source: error.source })?;
        let mut state = inner.state.lock();
        state.endpoints.remove(&(endpoint.owner.clone(), endpoint.network.clone()));
        state.ports.release(&endpoint.ports);
        if network.is_none() {
            state.leaving.push(endpoint.clone());
        }
    }
    if network.is_none() && !endpoints.is_empty() {
        inner.reap.notify_one();
    }
    let ports: Vec<_> = endpoints.iter().flat_map(|endpoint| endpoint.ports.iter().copied()).collect();
    if !ports.is_empty() {
        rules::apply(inner)?;
        conntrack::forget_ports(&ports);
    }
    Ok(())
}

//! Taking a sandbox out of its networks.

use super::{Inner, NetworkId, rules};
use crate::{AttachError, Endpoint, conntrack};

/// Takes `owner` out of `network`, or out of all; what is not there is no error.
pub(super) fn detach(inner: &Inner, owner: &str, network: Option<&NetworkId>) -> Result<(), AttachError> {
    let endpoints: Vec<Endpoint> = {
        let state = inner.state.lock();
        let mine = state.endpoints_of(owner);
        mine.filter(|endpoint| network.is_none_or(|network| endpoint.network == *network)).cloned().collect()
    };
    for endpoint in &endpoints {
        let forgotten = inner.disk.endpoint_remove(&endpoint.id);
        if network.is_none() {
            // That its sandbox has ended is so whatever is written down; opening finds it out too.
            if let Err(error) = forgotten {
                tracing::warn!(path = %error.path.display(), error = %error.source, "an endpoint of a sandbox that has ended stays written down");
            }
        } else {
            forgotten.map_err(|error| AttachError::State { path: error.path, source: error.source })?;
            // The sandbox lives on and must not reach it any more.
            if let Err(error) = inner.driver.detach(endpoint) {
                if let Err(error) = inner.disk.endpoint_write(endpoint) {
                    tracing::warn!(path = %error.path.display(), error = %error.source, "an endpoint that stays is not written down");
                }
                return Err(error.into());
            }
        }
        let mut state = inner.state.lock();
        state.endpoint_remove(endpoint);
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

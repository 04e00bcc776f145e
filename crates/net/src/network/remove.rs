//! Removing a network.

use super::{Inner, NetworkId, NetworkKind, NetworkView, rules};
use crate::NetworkError;

/// Removes a user-defined network without endpoints, and tells what it was.
pub(super) fn remove(inner: &Inner, id: &NetworkId) -> Result<NetworkView, NetworkError> {
    let view = {
        let mut state = inner.state.lock();
        let Some(network) = state.networks().get(id).cloned() else {
            return Err(NetworkError::NotFound { name: id.to_string() });
        };
        if network.kind != NetworkKind::User {
            return Err(NetworkError::Predefined { name: network.name });
        }
        let endpoints: Vec<_> = state
            .endpoints()
            .values()
            .filter(|endpoint| endpoint.network == *id)
            .map(
                |endpoint| {
                    if endpoint.name.is_empty() { endpoint.owner.clone() } else { endpoint.name.clone() }
                },
            )
            .collect();
        if !endpoints.is_empty() {
            let endpoints = endpoints.join(", ");
            return Err(NetworkError::InUse { name: network.name, id: id.to_string(), endpoints });
        }
        // On disk first: a network that is still written down would come back.
        let others = state.networks().values().filter(|network| network.id != *id);
        inner
            .disk
            .networks_write(others)
            .map_err(|error| NetworkError::State { path: error.path, source: error.source })?;
        state.network_remove(id);
        network
    };
    if let Err(error) = inner.driver.remove(&view) {
        keep(inner, &view);
        return Err(error.into());
    }
    if let Err(error) = rules::apply(inner) {
        // It is gone. What the rules say of it is about nothing, and goes with the next change.
        tracing::warn!(network = view.name, error = %base::error::chain(&error), "rules of a removed network stay");
    }
    tracing::info!(network = view.name, "network removed");
    Ok(view)
}

/// Takes up again a network that cannot be removed.
fn keep(inner: &Inner, view: &NetworkView) {
    let mut state = inner.state.lock();
    if let Err(error) = inner.disk.networks_write(state.networks().values().chain([view])) {
        tracing::warn!(path = %error.path.display(), error = %error.source, "a network that could not be removed is not kept");
    }
    state.network_insert(view.clone());
}

/// Takes back a network whose creation failed half-way; what cannot be taken back is logged.
pub(super) fn undo(inner: &Inner, view: &NetworkView) {
    {
        let mut state = inner.state.lock();
        state.network_remove(&view.id);
        if let Err(error) = inner.disk.networks_write(state.networks().values()) {
            tracing::warn!(path = %error.path.display(), error = %error.source, "network state not kept");
        }
    }
    if let Err(error) = inner.driver.remove(view) {
        tracing::warn!(bridge = view.bridge, error = %base::error::chain(&error), "bridge left behind");
    }
    if let Err(error) = rules::apply(inner) {
        tracing::warn!(error = %base::error::chain(&error), "rules left behind");
    }
}

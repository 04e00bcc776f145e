//! Finding networks.

use super::{NetworkKind, NetworkView, State};
use crate::NetworkError;

/// All networks, in the order of listings.
pub(super) fn list(state: &State) -> Vec<NetworkView> {
    let mut networks: Vec<_> = state.networks().values().cloned().collect();
    networks
        .sort_by(|a, b| (a.kind == NetworkKind::User, &a.name).cmp(&(b.kind == NetworkKind::User, &b.name)));
    networks
}

/// The network that `name` means: a full id, then a name, then the beginning of an id. Users may call one of
/// theirs as the pods' is called, which none of them sees.
pub(super) fn find(state: &State, name: &str) -> Result<NetworkView, NetworkError> {
    let exact = state.networks().values().find(|network| network.id.as_str() == name);
    let named = || state.networks().values().filter(|network| network.name == name);
    let named = || named().min_by_key(|network| network.kind == NetworkKind::Pods);
    if let Some(network) = exact.or_else(named) {
        return Ok(network.clone());
    }
    let begins: Vec<_> = state
        .networks()
        .values()
        .filter(|network| !name.is_empty() && network.id.as_str().starts_with(name))
        .collect();
    match begins.as_slice() {
        [network] => Ok((*network).clone()),
        [] => Err(NetworkError::NotFound { name: name.to_owned() }),
        several => Err(NetworkError::Ambiguous { name: name.to_owned(), matches: several.len() }),
    }
}

/// One of the networks that there always are.
pub(super) fn of_kind(state: &State, kind: NetworkKind) -> NetworkView {
    let found = state.networks().values().find(|network| network.kind == kind);
    found.expect("opening makes the default network and the pods', and neither can be removed").clone()
}

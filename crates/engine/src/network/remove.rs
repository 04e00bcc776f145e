//! Removing networks.

use std::collections::BTreeMap;

use super::error;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result};
use crate::event::EventKind;
use crate::id::NetworkId;

impl Engine {
    /// Removes a network that no running container is in.
    pub async fn network_remove(&self, id: &NetworkId) -> Result<()> {
        let network = self.network_inspect(id)?;
        if network.builtin {
            return Err(Error::new(
                Kind::Denied,
                format!("{} is a pre-defined network and cannot be removed", network.name),
            ));
        }
        let own = net_id(id)?;
        self.inner.network.network_remove(&own).await.map_err(error)?;
        let attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), "bridge".to_owned()),
        ]);
        self.inner.events.emit(EventKind::Network, "destroy", id.as_str(), attributes);
        Ok(())
    }
}

pub(super) fn net_id(id: &NetworkId) -> Result<net::NetworkId> {
    net::NetworkId::parse(id.as_str())
        .map_err(|error| Error::internal("read a network's id").with_source(error))
}

//! Putting containers into networks and taking them out, while they run or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::remove::net_id;
use super::{EndpointSpec, attach_error};
use crate::container::{NetworkMode, Status};
use crate::engine::Engine;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::{ContainerId, NetworkId};
use crate::registry::ContainerCell;
use crate::sandbox::launch::Wiring;

impl Engine {
    /// Puts a container, running or not, into one more network.
    pub async fn network_connect(
        &self,
        id: &NetworkId,
        container: &ContainerId,
        endpoint: EndpointSpec,
    ) -> Result<()> {
        let network = self.network_inspect(id)?;
        let cell = self.inner.registry.get(container)?;
        let _operation = cell.operation.lock().await;
        check_mode(&cell)?;
        if network.interface.is_none() {
            return Err(Error::invalid(format!(
                "container cannot be connected to the network {}",
                network.name
            )));
        }
        let record = cell.record();
        if record.networks.iter().any(|(name, _)| *name == network.name) {
            return Err(Error::new(
                Kind::Denied,
                format!("endpoint with name {} already exists in network {}", record.name, network.name),
            ));
        }
        if cell.status().is_active() {
            let netns = cell
                .shim()?
                .handle
                .network_namespace()
                .context(|| "open a container's network".to_owned())?;
            let is_first = cell.sandbox.live.read().endpoints.is_empty();
            let wiring = Wiring {
                networks: vec![(network.name.clone(), endpoint.clone())],
                name: record.name.clone(),
                name_servers: self.name_servers(&record),
                ports: Vec::new(),
                default_route: is_first,
            };
            self.wire(&cell.sandbox, &netns, &wiring).await?;
        }
        let record = cell.change(|record| record.networks.push((network.name.clone(), endpoint)));
        self.save(record).await?;
        if cell.status().is_active() {
            self.rewrite_files(&cell).await?;
        }
        self.emit_network("connect", id, &network.name, &cell);
        Ok(())
    }

    /// Takes a container out of a network.
    pub async fn network_disconnect(&self, id: &NetworkId, container: &ContainerId) -> Result<()> {
        let network = self.network_inspect(id)?;
        let cell = self.inner.registry.get(container)?;
        let _operation = cell.operation.lock().await;
        check_mode(&cell)?;
        let record = cell.record();
        let is_in = record.networks.iter().any(|(name, _)| *name == network.name);
        if !is_in {
            return Err(Error::conflict(format!(
                "container {} is not connected to network {}",
                record.id, network.name
            )));
        }
        if cell.status().is_active() || cell.status() == Status::Paused {
            self.inner
                .network
                .endpoint_detach(&net_id(id)?, cell.sandbox.id.as_str())
                .await
                .map_err(attach_error)?;
            cell.sandbox.live.write().endpoints.remove(&network.name);
        }
        let record = cell.change(|record| record.networks.retain(|(name, _)| *name != network.name));
        self.save(record).await?;
        if cell.status().is_active() {
            self.rewrite_files(&cell).await?;
        }
        self.emit_network("disconnect", id, &network.name, &cell);
        Ok(())
    }

    fn emit_network(&self, action: &'static str, id: &NetworkId, name: &str, cell: &Arc<ContainerCell>) {
        let attributes = BTreeMap::from([
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), "bridge".to_owned()),
            ("container".to_owned(), cell.id.to_string()),
        ]);
        self.inner.events.emit(EventKind::Network, action, id.as_str(), attributes);
    }
}

fn check_mode(cell: &ContainerCell) -> Result<()> {
    if cell.sandbox.spec.is_some() {
        return Err(Error::conflict("the networks of a sandbox are those it was made with"));
    }
    match cell.record().spec.namespaces.network {
        NetworkMode::Host => Err(Error::invalid(
            "container cannot be disconnected from host network or connected to host network",
        )),
        NetworkMode::Container(_) => Err(Error::invalid(
            "container sharing network namespace with another container or host cannot be connected to any other network",
        )),
        NetworkMode::None => Err(Error::invalid(
            "container cannot be connected to multiple networks with one of the networks in private (none) mode",
        )),
        NetworkMode::Bridge | NetworkMode::Network(_) => Ok(()),
    }
}

//! Putting containers into networks and taking them out, while they run or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::remove::net_id;
use super::{EndpointSpec, Network, attach_error, ports};
use crate::container::{ContainerRecord, NetworkMode};
use crate::engine::Engine;
use crate::error::{Context, Error, Kind, Result};
use crate::event::EventKind;
use crate::id::{ContainerId, NetworkId};
use crate::registry::ContainerCell;
use crate::sandbox::wire::{Wiring, published};

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
        let engine = self.clone();
        self.detached(async move { engine.connect(&network, &cell, endpoint).await }).await
    }

    async fn connect(
        &self,
        network: &Network,
        cell: &Arc<ContainerCell>,
        endpoint: EndpointSpec,
    ) -> Result<()> {
        let _operation = cell.operation.lock().await;
        check_mode(cell)?;
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
        let is_active = cell.status().is_active();
        self.change_durably(
            cell,
            |record| record.networks.push((network.name.clone(), endpoint.clone())),
            async |next| {
                if !is_active {
                    return Ok(());
                }
                self.plug_in(network, cell, &endpoint, &next, ports::wanted(&next.spec, &next.resolved)).await
            },
            async || {
                if is_active {
                    self.unplug_again(network, cell).await;
                }
            },
        )
        .await?;
        self.emit_network("connect", &network.id, &network.name, cell);
        Ok(())
    }

    /// Puts a running container, which is to be as `next` says, into a network. What has been published of it
    /// stays where it is; if nothing is, `ports` are there, unless the network is internal.
    async fn plug_in(
        &self,
        network: &Network,
        cell: &ContainerCell,
        endpoint: &EndpointSpec,
        next: &ContainerRecord,
        ports: Vec<net::PortSpec>,
    ) -> Result<()> {
        let netns = self.netns_of(&cell.sandbox.id, &*cell.shim()?);
        let netns = netns.context(|| "open a container's network".to_owned())?;
        let (is_first, is_published) = {
            let live = cell.sandbox.live.read();
            (live.endpoints.is_empty(), !live.ports.is_empty())
        };
        let wiring = Wiring {
            networks: vec![(network.name.clone(), endpoint.clone())],
            name: next.name.clone(),
            name_servers: self.name_servers(next),
            ports: if is_published { Vec::new() } else { ports },
            default_route: is_first,
        };
        self.wire(&cell.sandbox, &netns, &wiring).await?;
        let written = self.rewrite_files(cell, next);
        if written.is_err() {
            self.unplug_again(network, cell).await;
        }
        written
    }

    /// Takes a running container out of a network that it has just been put into.
    async fn unplug_again(&self, network: &Network, cell: &ContainerCell) {
        let unplugged = async {
            self.unplug(network, cell).await?;
            self.rewrite_files(cell, &cell.record())
        };
        if let Err(error) = unplugged.await {
            tracing::warn!(container = %cell.id, network = network.name, error = %base::error::chain(&error), "take a container out of a network again");
        }
    }

    async fn unplug(&self, network: &Network, cell: &ContainerCell) -> Result<()> {
        let id = net_id(&network.id)?;
        let detached = self.inner.network.endpoint_detach(&id, cell.sandbox.id.as_str());
        detached.await.map_err(attach_error)?;
        // Ports lead to another of its networks now, or nowhere.
        let ports =
            self.endpoints_of(cell).iter().flat_map(|endpoint| &endpoint.ports).map(published).collect();
        let mut live = cell.sandbox.live.write();
        live.endpoints.remove(&network.name);
        live.ports = ports;
        Ok(())
    }

    fn endpoints_of(&self, cell: &ContainerCell) -> Vec<net::Endpoint> {
        let mut endpoints = self.inner.network.endpoint_list();
        endpoints.retain(|endpoint| endpoint.owner == cell.sandbox.id.as_str());
        endpoints
    }

    /// Takes a container out of a network.
    pub async fn network_disconnect(&self, id: &NetworkId, container: &ContainerId) -> Result<()> {
        let network = self.network_inspect(id)?;
        let cell = self.inner.registry.get(container)?;
        let engine = self.clone();
        self.detached(async move { engine.disconnect(&network, &cell).await }).await
    }

    async fn disconnect(&self, network: &Network, cell: &Arc<ContainerCell>) -> Result<()> {
        let _operation = cell.operation.lock().await;
        check_mode(cell)?;
        let record = cell.record();
        let Some((_, asked)) = record.networks.iter().find(|(name, _)| *name == network.name) else {
            return Err(Error::conflict(format!(
                "container {} is not connected to network {}",
                record.id, network.name
            )));
        };
        let is_active = cell.status().is_active();
        // As it is now, so that it could go back there.
        let address = cell.sandbox.live.read().endpoints.get(&network.name).and_then(|at| at.ipv4);
        let back = EndpointSpec { ipv4: address.map(|net| net.addr()).or(asked.ipv4), ..asked.clone() };
        let had: Vec<net::PortSpec> =
            self.endpoints_of(cell).iter().flat_map(|endpoint| &endpoint.ports).map(ports::again).collect();
        let plug_back = async || {
            if is_active && let Err(error) = self.plug_in(network, cell, &back, &record, had.clone()).await {
                tracing::warn!(container = %cell.id, network = network.name, error = %base::error::chain(&error), "put a container back into a network");
            }
        };
        self.change_durably(
            cell,
            |record| record.networks.retain(|(name, _)| *name != network.name),
            async |next| {
                if !is_active {
                    return Ok(());
                }
                self.unplug(network, cell).await?;
                let written = self.rewrite_files(cell, &next);
                if written.is_err() {
                    plug_back().await;
                }
                written
            },
            &plug_back,
        )
        .await?;
        self.emit_network("disconnect", &network.id, &network.name, cell);
        Ok(())
    }

    fn emit_network(&self, action: &'static str, id: &NetworkId, name: &str, cell: &ContainerCell) {
        self.emit_network_of(action, id.as_str(), name, "bridge", cell);
    }

    /// Tells that a container is in a network, or is no more.
    pub(crate) fn emit_network_of(
        &self,
        action: &'static str,
        id: &str,
        name: &str,
        driver: &str,
        cell: &ContainerCell,
    ) {
        let attributes = BTreeMap::from([
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), driver.to_owned()),
            ("container".to_owned(), cell.id.to_string()),
        ]);
        self.inner.events.emit(EventKind::Network, action, id, attributes);
    }
}

fn check_mode(cell: &ContainerCell) -> Result<()> {
    if !cell.sandbox.is_of_one() {
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

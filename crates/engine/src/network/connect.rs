//! Putting containers into networks and taking them out, while they run or not.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::remove::net_id;
use super::{EndpointSpec, Network, attach_error, ports};
use crate::container::{ContainerRecord, NetworkMode};
use crate::engine::Engine;
use crate::error::{Context, Error, Fact, Kind, NetworkFact, Result};
use crate::event::EventKind;
use crate::id::{ContainerId, NetworkId};
use crate::registry::ContainerCell;
use crate::sandbox::wire::{Wiring, published};

/// The driver of the network that is none.
const WITHOUT: &str = "null";

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
        check_joins(cell, network)?;
        let record = cell.record();
        let is_there = self.place_without_bridge(cell).is_some_and(|(name, _)| name == network.name);
        if is_there || record.networks.iter().any(|(name, _)| self.network_name(name) == network.name) {
            return Err(Error::new(
                Kind::Denied,
                format!("endpoint with name {} already exists in network {}", record.name, network.name),
            ));
        }
        if network.driver == WITHOUT {
            return self.change_place(network, cell, "connect", NetworkMode::None).await;
        }
        check_leads_on(cell)?;
        self.check_endpoint(&network.name, &endpoint, None)?;
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
        self.refresh_linked_to(cell);
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
        let is_published = !cell.sandbox.live.read().ports.is_empty();
        let wiring = Wiring {
            networks: vec![(network.name.clone(), endpoint.clone())],
            name: next.name.clone(),
            hostname: next.spec.hostname.clone().filter(|name| !name.is_empty()),
            name_servers: self.name_servers(next),
            ports: if is_published { Vec::new() } else { ports },
        };
        self.wire(&cell.sandbox, &netns, &wiring).await?;
        let written = self.update_files(cell, next);
        if written.is_err() {
            self.unplug_again(network, cell).await;
        }
        written
    }

    /// Takes a running container out of a network that it has just been put into.
    async fn unplug_again(&self, network: &Network, cell: &ContainerCell) {
        let unplugged = async {
            self.unplug(network, cell).await?;
            self.update_files(cell, &cell.record())
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
        check_leaves(cell, network)?;
        let record = cell.record();
        if network.driver == WITHOUT && record.spec.namespaces.network == NetworkMode::None {
            return self.change_place(network, cell, "disconnect", NetworkMode::Bridge).await;
        }
        let is_active = cell.status().is_active();
        let is_it = |name: &str| self.network_name(name) == network.name;
        let Some((_, asked)) = record.networks.iter().find(|(name, _)| is_it(name)) else {
            let (container, network) = (record.id.to_string(), network.name.clone());
            return Err(
                Fact::from(NetworkFact::NotConnected { container, network, running: is_active }).into()
            );
        };
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
            |record| record.networks.retain(|(name, _)| !is_it(name)),
            async |next| {
                if !is_active {
                    return Ok(());
                }
                self.unplug(network, cell).await?;
                let written = self.update_files(cell, &next);
                if written.is_err() {
                    plug_back().await;
                }
                written
            },
            &plug_back,
        )
        .await?;
        self.refresh_linked_to(cell);
        self.emit_network("disconnect", &network.id, &network.name, cell);
        Ok(())
    }

    /// Takes a container that is in no network out of the place that says so, or puts it there: from without it others
    /// can be joined.
    async fn change_place(
        &self,
        network: &Network,
        cell: &Arc<ContainerCell>,
        action: &'static str,
        mode: NetworkMode,
    ) -> Result<()> {
        self.change_durably(
            cell,
            |record| record.spec.namespaces.network.clone_from(&mode),
            async |_| Ok(()),
            async || {},
        )
        .await?;
        self.emit_network_of(action, network.id.as_str(), &network.name, &network.driver, cell);
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
        if cell.is_hidden() {
            return;
        }
        let attributes = BTreeMap::from([
            ("name".to_owned(), name.to_owned()),
            ("type".to_owned(), driver.to_owned()),
            ("container".to_owned(), cell.id.to_string()),
        ]);
        self.inner.events.emit(EventKind::Network, action, id, attributes);
    }
}

/// Whether a container may be in the network as well, as far as its own mode says.
fn check_joins(cell: &ContainerCell, network: &Network) -> Result<()> {
    is_of_one(cell)?;
    let mode = &cell.record().spec.namespaces.network;
    let fact = match (mode, network.driver.as_str()) {
        (NetworkMode::Container(_), _) => NetworkFact::SharesNetwork,
        (NetworkMode::Host, "host") | (NetworkMode::None, WITHOUT) => return Ok(()),
        (_, "host") => NetworkFact::NotInHostNetwork,
        (NetworkMode::Host, _) => NetworkFact::SharesNetwork,
        (_, WITHOUT) if cell.record().networks.is_empty() => return Ok(()),
        (NetworkMode::None, _) | (_, WITHOUT) => NetworkFact::InNoNetwork,
        _ => return Ok(()),
    };
    Err(Fact::from(fact).into())
}

/// Whether a container, which may be in a network, is in one that others can be added to.
fn check_leads_on(cell: &ContainerCell) -> Result<()> {
    match cell.record().spec.namespaces.network {
        NetworkMode::Bridge | NetworkMode::Network(_) => Ok(()),
        _ => Err(Fact::from(NetworkFact::InNoNetwork).into()),
    }
}

/// Whether a container may leave the network, as far as its own mode says.
fn check_leaves(cell: &ContainerCell, network: &Network) -> Result<()> {
    is_of_one(cell)?;
    let mode = &cell.record().spec.namespaces.network;
    match (mode, network.driver.as_str()) {
        (NetworkMode::Host, "host") => Err(Fact::from(NetworkFact::InHostNetwork).into()),
        _ => Ok(()),
    }
}

fn is_of_one(cell: &ContainerCell) -> Result<()> {
    match cell.sandbox.is_of_one() {
        true => Ok(()),
        false => Err(Error::conflict("the networks of a sandbox are those it was made with")),
    }
}

//! Links: a container of the default network that knows others there, by names of its own.
//!
//! It finds their addresses in its `/etc/hosts`, which follows them, and in variables of its environment,
//! which are as they were when it was started. Who is linked to must run when it starts.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::spec::{ContainerLink, NetworkMode, Port, Protocol};
use super::{ContainerRecord, Status};
use crate::engine::Engine;
use crate::error::{Fact, Link, NetworkFact, Result};
use crate::id::ContainerId;
use crate::network::DEFAULT;
use crate::registry::{ContainerCell, no_such_container};

/// How long a container that a policy starts again waits for those that it is linked to.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// The variables by which a container knows those that it is linked to; refuses where one of them does not
    /// run, or is elsewhere. A container that is not in the default network has none.
    pub(crate) fn link_env(&self, record: &ContainerRecord) -> Result<Vec<String>> {
        let mut env = Vec::new();
        if !record.networks.iter().any(|(name, _)| name == DEFAULT) {
            return Ok(env);
        }
        for link in &record.spec.links {
            let (linked, address) = self.linked(record, link)?;
            let linked = linked.record();
            env.extend(variables(&record.name, &link.alias, address, &linked));
        }
        Ok(env)
    }

    /// The lines of `/etc/hosts` about containers that `record` is linked to and that are there now.
    pub(crate) fn link_hosts(&self, record: &ContainerRecord) -> Vec<(IpAddr, Vec<String>)> {
        let line = |link: &ContainerLink| {
            let (linked, address) = self.linked(record, link).ok()?;
            let linked = linked.record();
            let mut names = vec![link.alias.clone(), linked.resolved.hostname.clone()];
            if link.alias != linked.name {
                names.push(linked.name.clone());
            }
            Some((IpAddr::V4(address), names))
        };
        if !record.networks.iter().any(|(name, _)| name == DEFAULT) {
            return Vec::new();
        }
        record.spec.links.iter().filter_map(line).collect()
    }

    /// The container that a link leads to, which runs, and its address in the default network.
    fn linked(
        &self,
        record: &ContainerRecord,
        link: &ContainerLink,
    ) -> Result<(Arc<ContainerCell>, Ipv4Addr)> {
        let cell = self.inner.registry.get(&link.container).ok();
        let name = cell.as_ref().map_or_else(|| link.name.clone(), |cell| cell.record().name.clone());
        let Some(cell) = cell.filter(|cell| cell.status().is_active()) else {
            let link = Link { of: record.name.clone(), alias: link.alias.clone() };
            return Err(Fact::from(NetworkFact::LinkedNotRunning { name, link }).into());
        };
        let address = cell.sandbox.live.read().endpoints.get(DEFAULT).and_then(|at| at.ipv4);
        match address {
            Some(address) => Ok((cell, address.addr())),
            None => Err(Fact::from(NetworkFact::LinkedElsewhere { name }).into()),
        }
    }

    /// Has the files of those that are linked to `cell` say where it is now.
    pub(crate) fn refresh_linked_to(&self, cell: &ContainerCell) {
        for parent in self.inner.registry.linking() {
            let record = parent.record();
            let is_linked = record.spec.links.iter().any(|link| link.container == cell.id);
            // One that is being started may have looked where it was before.
            let has_files = parent.status().is_active() || parent.files.lock().is_some();
            if !is_linked || !has_files {
                continue;
            }
            if let Err(error) = self.update_hosts(&parent, None) {
                tracing::warn!(container = %parent.id, error = %base::error::chain(&error), "write where a linked container is");
            }
        }
    }

    /// Waits for those that a container is linked to and that are about to be started too.
    pub(crate) async fn await_linked(&self, cell: &ContainerCell) {
        let record = cell.record();
        let waits = record.spec.links.iter().filter_map(|link| {
            let linked = self.inner.registry.get(&link.container).ok()?;
            Some(async move {
                let mut pulse = linked.pulse();
                let is_settled = |status: Status| status != Status::Restarting;
                let _ = pulse.wait_for(|pulse| is_settled(pulse.status) || pulse.removed).await;
            })
        });
        let _ = tokio::time::timeout(PATIENCE, futures::future::join_all(waits)).await;
    }

    /// Takes the link away by which a container knows another: `container/alias`.
    pub async fn container_unlink(&self, reference: &str) -> Result<()> {
        let bare = reference.strip_prefix('/').unwrap_or(reference);
        let Some((of, alias)) = bare.rsplit_once('/') else {
            // That it exists is not asked: it would be no link.
            self.inner.registry.find(reference)?;
            return Err(Fact::from(NetworkFact::NoLink { reference: bare.to_owned() }).into());
        };
        let cell = self.inner.registry.get(&self.inner.registry.find(of)?)?;
        let (engine, alias, reference) = (self.clone(), alias.to_owned(), reference.to_owned());
        self.detached(async move {
            let _operation = cell.operation.lock().await;
            if !cell.record().spec.links.iter().any(|link| link.alias == alias) {
                return Err(no_such_container(&reference));
            }
            let rewrite = |record: &ContainerRecord| match cell.status().is_active() {
                true => engine.update_hosts(&cell, Some(record)),
                false => Ok(()),
            };
            engine
                .change_durably(
                    &cell,
                    |record| record.spec.links.retain(|link| link.alias != alias),
                    async |next| rewrite(&next),
                    async || drop(rewrite(&cell.record())),
                )
                .await
        })
        .await
    }

    /// What others call a container, `container/alias`.
    pub(crate) fn links_to(&self, id: &ContainerId) -> Vec<String> {
        let parents = self.inner.registry.linking();
        let names = parents.iter().flat_map(|parent| {
            let record = parent.record();
            let links = record.spec.links.iter().filter(|link| link.container == *id);
            links.map(|link| format!("{}/{}", record.name, link.alias)).collect::<Vec<_>>()
        });
        names.collect()
    }

    /// The links of a container, each with the name that the other has now.
    pub(crate) fn links_of(&self, record: &ContainerRecord) -> Vec<ContainerLink> {
        let now = |link: &ContainerLink| {
            let name = self.inner.registry.get(&link.container).map(|cell| cell.record().name.clone());
            ContainerLink { name: name.unwrap_or_else(|_| link.name.clone()), ..link.clone() }
        };
        record.spec.links.iter().map(now).collect()
    }

    /// Who really has the network of the container that is to be linked to: none if that is the host.
    pub fn container_behind(&self, id: &ContainerId) -> Result<Option<ContainerId>> {
        let mut id = id.clone();
        loop {
            match &self.inner.registry.get(&id)?.record().spec.namespaces.network {
                NetworkMode::Host => return Ok(None),
                // Each joins one that was there before it, so that this ends.
                NetworkMode::Container(other) => id = other.clone(),
                _ => return Ok(Some(id)),
            }
        }
    }
}

/// The variables by which `parent` knows the container `linked` as `alias`.
fn variables(parent: &str, alias: &str, address: Ipv4Addr, linked: &ContainerRecord) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut ports = linked.resolved.exposed_ports.clone();
    let order = |port: &Port| (port.protocol != Protocol::Tcp, port.protocol.as_str(), port.number);
    ports.sort_by(|one, other| order(one).cmp(&order(other)));
    let place = |port: Port| format!("{}://{address}:{}", port.protocol.as_str(), port.number);
    let name_of =
        |port: Port| format!("{prefix}_PORT_{}_{}", port.number, port.protocol.as_str().to_uppercase());
    let mut env: Vec<String> =
        ports.first().map(|first| format!("{prefix}_PORT={}", place(*first))).into_iter().collect();
    let follows =
        |one: &Port, next: &Port| one.protocol == next.protocol && next.number == one.number.wrapping_add(1);
    for run in ports.chunk_by(follows) {
        for port in run.iter().copied() {
            let (name, protocol) = (name_of(port), port.protocol.as_str());
            env.push(format!("{name}={}", place(port)));
            env.push(format!("{name}_ADDR={address}"));
            env.push(format!("{name}_PORT={}", port.number));
            env.push(format!("{name}_PROTO={protocol}"));
        }
        if let [first, .., last] = *run {
            let name = name_of(first);
            env.push(format!("{name}_START={}", place(first)));
            env.push(format!("{name}_PORT_START={}", first.number));
            env.push(format!("{name}_END={}", place(last)));
            env.push(format!("{name}_PORT_END={}", last.number));
        }
    }
    env.push(format!("{prefix}_NAME=/{parent}/{alias}"));
    let own = linked.resolved.env.iter().filter_map(|line| line.split_once('='));
    let own = own.filter(|(name, _)| !matches!(*name, "HOME" | "PATH"));
    env.extend(own.map(|(name, value)| format!("{prefix}_ENV_{name}={value}")));
    env
}
